"""The compressors of this host that are the kernel's too: what each leaves of a page, in bytes.

Of zlib it is what Python has; liblz4 and libzstd are the libraries that the package managers of Debian and Ubuntu
themselves are linked with, so they are there.
"""

from __future__ import annotations

import ctypes
import zlib
from collections.abc import Callable, Mapping

_ROOM = 1 << 17
_LZ4HC_LEVEL, _ZSTD_LEVEL = 9, 3
_lz4, _zstd = ctypes.CDLL("liblz4.so.1"), ctypes.CDLL("libzstd.so.1")
_zstd.ZSTD_compress.restype = ctypes.c_size_t
_zstd.ZSTD_compress.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int]
_out = ctypes.create_string_buffer(_ROOM)


def _by_lz4(page: bytes) -> int:
    return int(_lz4.LZ4_compress_default(page, _out, len(page), _ROOM))


def _by_lz4hc(page: bytes) -> int:
    return int(_lz4.LZ4_compress_HC(page, _out, len(page), _ROOM, _LZ4HC_LEVEL))


def _by_zstd(page: bytes) -> int:
    return int(_zstd.ZSTD_compress(_out, _ROOM, page, len(page), _ZSTD_LEVEL))


def _by_deflate(page: bytes) -> int:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return len(packer.compress(page)) + len(packer.flush())


COMPRESSORS: Mapping[str, Callable[[bytes], int]] = {
    "lz4": _by_lz4, "lz4hc": _by_lz4hc, "zstd": _by_zstd, "deflate": _by_deflate,
}  # fmt: skip
"""at the levels that zram takes by itself"""
