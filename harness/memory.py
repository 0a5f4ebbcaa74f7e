"""What to do about memory that ran out: the knob to turn, beside the words of whatever asked for more."""

import errno

import torch

_SIGNS = (
    "DefaultCPUAllocator",
    "CUDA out of memory",
    "CUDA error: out of memory",
    "STATUS_ALLOC_FAILED",
)
"""In the words of errors of torch's that have no type of their own."""
ON_A_GPU = (
    "the GPU has no room left: give it fewer processes (--jobs) or fewer cells at once (--together), spread the cell over more "
    "GPUs (--ranks), or set a smaller batch (a knob: `harness describe NAME`), which is another experiment"
)
ON_THE_HOST = (
    "this machine has no memory left: run fewer processes (--jobs) or train fewer cells at once (--together), set a smaller batch "
    "(a knob: `harness describe NAME`), which is another experiment, or on a cluster ask for more (memory_gb)"
)


def ran_out(error: BaseException) -> bool:
    """Whether an error says that memory ran out, of a GPU or of this machine."""
    return (
        isinstance(error, MemoryError | torch.OutOfMemoryError)
        or (isinstance(error, OSError) and error.errno == errno.ENOMEM)
        or (isinstance(error, RuntimeError) and any(sign in str(error) for sign in _SIGNS))
    )


def advise(error: BaseException) -> None:
    """Add to an error, where it says that memory ran out, what to do about it."""
    if not ran_out(error) or getattr(error, "__notes__", []):
        return
    of_a_gpu = isinstance(error, torch.OutOfMemoryError) or any(
        sign in str(error) for sign in _SIGNS[1:]
    )
    error.add_note(ON_A_GPU if of_a_gpu else ON_THE_HOST)
