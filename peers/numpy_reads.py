"""numpy_reads.py FOLDER: NumPy reads engraft's x.npy and all.npz, and writes arrays for engraft to read."""

import pathlib
import sys

import numpy as np

folder = pathlib.Path(sys.argv[1])
expected = np.arange(24, dtype="f4").reshape(2, 3, 4) / 8
ours = np.load(folder / "x.npy", allow_pickle=False)
assert ours.dtype == np.float32 and ours.flags["C_CONTIGUOUS"] and np.array_equal(ours, expected)
several = np.load(folder / "all.npz", allow_pickle=False)
assert sorted(several) == ["one", "two"] and several["two"].shape == () and np.array_equal(several["one"], expected)

kinds = ["<f2", "<f4", "<f8", "i1", "<i2", "<i4", "<i8", "u1", "<u2", "<u4", "<u8"]
arrays = {kind.strip("<"): (expected * 8).astype(kind) for kind in kinds}
arrays["fortran"] = np.asfortranarray(expected * 8)
np.savez(folder / "stored.npz", **arrays)
np.savez_compressed(folder / "deflated.npz", **arrays)
np.save(folder / "empty.npy", np.zeros((0, 3), "f4"))
