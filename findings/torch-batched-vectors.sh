#!/usr/bin/env bash
# PyTorch 2.13.0 (CPU, with MKL 2024.2): the product of a matrix and a vector in a batch of torch.bmm has other bits than
# the same product alone, even where MKL_CBWR, the variable that Intel documents for reproducible bits, holds matrix
# products of every batch to those of each alone. Seen on an AMD EPYC (Zen 5), with AUTO, AVX2, AVX512 and COMPATIBLE.
# Who wants a network's figures not to depend on how many are trained together writes such products as sums.
#
# Installs pinned public packages in a temporary folder; fails if the behaviour is no longer what is said here.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" --disable-pip-version-check -q install torch==2.13.0 numpy==2.4.6
cat > "$folder/products.py" <<'PYTHON'
import torch

torch.set_num_threads(1)
source = torch.Generator().manual_seed(0)
for columns in (1, 2):
    left = torch.randn(5, 8, 1024, generator=source, dtype=torch.float64)
    right = torch.randn(5, 1024, columns, generator=source, dtype=torch.float64)
    together = torch.bmm(left, right)
    alone = [torch.bmm(left[i : i + 1], right[i : i + 1])[0] for i in range(5)]
    same = sum(torch.equal(one, other) for one, other in zip(together, alone))
    print(f"8 x 1024 by 1024 x {columns}: {same} of 5 products have the bits that they have alone")
PYTHON
expected="8 x 1024 by 1024 x 1: 0 of 5 products have the bits that they have alone
8 x 1024 by 1024 x 2: 5 of 5 products have the bits that they have alone"
for setting in AUTO AVX2 COMPATIBLE; do
    seen=$(MKL_CBWR=$setting "$folder/venv/bin/python" "$folder/products.py")
    printf 'MKL_CBWR=%s\n%s\n' "$setting" "$seen"
    [ "$seen" = "$expected" ] || { echo "this has changed; expected:"; echo "$expected"; exit 1; }
done
