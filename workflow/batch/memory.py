"""Settings of the allocator for processes that run networks on a processor.

Above 32 MB glibc maps every tensor anew and gives it back after use; a network's early layers make such tensors of
eight images. With these a process keeps up to a gigabyte of what it freed (`benchmarks/batches.py`). They are read
when a process starts, and mean nothing to other allocators.
"""

KEEPING = {"MALLOC_MMAP_THRESHOLD_": str(2**30), "MALLOC_TRIM_THRESHOLD_": str(2**30)}
