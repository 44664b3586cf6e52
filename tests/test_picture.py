"""The picture of README is made from a commit, or not at all."""

import pytest

import picture


@pytest.mark.parametrize("state", [("0" * 40, True), ("unknown", False)])
def test_no_picture_is_made_from_changes(state: tuple[str, bool], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(picture, "code_state", lambda: state)
    monkeypatch.setattr(picture.subprocess, "run", lambda *_, **__: pytest.fail("something ran"))
    with pytest.raises(SystemExit, match="commit the changes first"):
        picture.main()


def test_it_says_that_it_needs_a_browser(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(picture, "code_state", lambda: ("0" * 40, False))
    monkeypatch.setattr(picture.shutil, "which", lambda name: None)
    monkeypatch.setattr(picture.subprocess, "run", lambda *_, **__: pytest.fail("something ran"))
    with pytest.raises(SystemExit, match="needs chromium"):
        picture.main()
