"""Variables that processes which run networks are started with."""

MEMORY_ENVIRONMENT = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(2**34),
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
}
"""What processes that run networks should be started with: large tensors' memory is kept, and comes in huge pages.

By default glibc hands it back to the kernel after each use, and clearing the pages again for the next takes up to a
third of a step on a CPU. Huge pages by this variable take glibc 2.35; an older one ignores it.
"""

SERVING_ENVIRONMENT = MEMORY_ENVIRONMENT | {"MALLOC_ARENA_MAX": "1"}
"""The same for processes that answer: networks run on threads there, whose memory glibc would not keep otherwise."""
