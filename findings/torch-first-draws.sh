#!/usr/bin/env bash
# PyTorch 2.13.0 (CPU): from the same seed the first 15 numbers of torch.randn(16) are not torch.randn(15), for below 16 the
# numbers are made in another way; and of torch.randn(17) only one number is among the first 17 of torch.randn(32), for the
# last 16 are drawn anew where 16 does not divide the size. A sample in pieces is the sample in one only where every piece
# is a multiple of 16. torch.rand in pieces is the same always.
#
# Installs pinned public packages in a temporary folder; fails if the behaviour is no longer what is said here.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" --disable-pip-version-check -q install torch==2.13.0 numpy==2.4.6
cat > "$folder/seen.py" <<'PYTHON'
import torch


def draws(kind, *sizes):
    source = torch.Generator().manual_seed(0)
    return torch.cat([kind(size, generator=source) for size in sizes])


for size, other in ((15, 16), (17, 32), (16, 32)):
    same = int((draws(torch.randn, size) == draws(torch.randn, other)[:size]).sum())
    print(f"randn({size}): {same} of the first {size} of randn({other})")
for kind, pieces in ((torch.randn, (8, 8)), (torch.randn, (16, 16)), (torch.rand, (8, 8))):
    same = torch.equal(draws(kind, *pieces), draws(kind, sum(pieces)))
    print(f"{kind.__name__} in pieces {pieces} is that in one: {same}")
PYTHON
expected="randn(15): 0 of the first 15 of randn(16)
randn(17): 1 of the first 17 of randn(32)
randn(16): 16 of the first 16 of randn(32)
randn in pieces (8, 8) is that in one: False
randn in pieces (16, 16) is that in one: True
rand in pieces (8, 8) is that in one: True"
seen=$("$folder/venv/bin/python" -W ignore "$folder/seen.py")
echo "$seen"
[ "$seen" = "$expected" ] || { echo "this has changed; expected:"; echo "$expected"; exit 1; }
