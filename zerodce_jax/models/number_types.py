"""The number types that network files store, with bfloat16 and float8, which NumPy itself lacks."""

import ml_dtypes
import numpy as np

STORAGE_TYPES = {
    "DoubleStorage": np.dtype(np.float64),
    "FloatStorage": np.dtype(np.float32),
    "HalfStorage": np.dtype(np.float16),
    "BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "LongStorage": np.dtype(np.int64),
    "IntStorage": np.dtype(np.int32),
    "ShortStorage": np.dtype(np.int16),
    "CharStorage": np.dtype(np.int8),
    "ByteStorage": np.dtype(np.uint8),
    "BoolStorage": np.dtype(np.bool_),
}
"""Types by the name of PyTorch's class of storages."""

SAFETENSORS_TYPES = {
    "F64": np.dtype(np.float64),
    "F32": np.dtype(np.float32),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "F8_E4M3": np.dtype(ml_dtypes.float8_e4m3fn),
    "F8_E5M2": np.dtype(ml_dtypes.float8_e5m2),
    "F8_E4M3FNUZ": np.dtype(ml_dtypes.float8_e4m3fnuz),
    "F8_E5M2FNUZ": np.dtype(ml_dtypes.float8_e5m2fnuz),
    "I64": np.dtype(np.int64),
    "I32": np.dtype(np.int32),
    "I16": np.dtype(np.int16),
    "I8": np.dtype(np.int8),
    "U64": np.dtype(np.uint64),
    "U32": np.dtype(np.uint32),
    "U16": np.dtype(np.uint16),
    "U8": np.dtype(np.uint8),
    "BOOL": np.dtype(np.bool_),
}
"""Types by their name in the header of a ``.safetensors`` file."""


def decode(raw: bytes | bytearray, dtype: np.dtype, *, big_endian: bool = False) -> np.ndarray:
    """Return the numbers in `raw` as a flat array in the byte order of this machine."""
    # Types of ml_dtypes have no byte order, so the bytes are swapped as those of integers.
    integers = np.dtype(f"u{dtype.itemsize}")
    stored = np.frombuffer(raw, integers.newbyteorder(">" if big_endian else "<"))
    return stored.astype(integers, copy=False).view(dtype)
