"""The virtual phone: a real kernel with UFS, zram, loop and adbd in QEMU."""
