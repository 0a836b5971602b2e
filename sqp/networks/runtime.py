"""What computes networks: OpenVINO on a CPU where it is installed (extra `openvino`), to the same outputs in less time.

At its first input of each shape a network is compiled and held beside PyTorch: where they differ by more than
`TOLERANCE`, or OpenVINO cannot run it, PyTorch does from then on, and a warning says so. So does one where a CPU
emulates bfloat16.
"""

from __future__ import annotations

import sys
import threading
import warnings
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sqp.core.errors import ConfigError
from sqp.core.names import Runtime

TOLERANCE = {"float32": 1e-4, "bfloat16": 0.1}
"""How far an output may be from PyTorch's in float32: the length of the difference by the output's own."""
HINTS = {"float32": "f32", "bfloat16": "bf16"}
PAYS_AFTER = 500
"""Images of a run from which on `auto` is OpenVINO: to import it and to compile the networks takes seconds."""
TELEMETRY = "openvino_telemetry"
SHAPES = 16
"""Most shapes of input that are compiled; further ones go by PyTorch."""
NO_BFLOAT16 = ("DEFAULT", "NO AVX", "AVX2")
"""PyTorch's names of instruction sets that have nothing for it."""


def tell_emulation(device: str | torch.device) -> None:
    """Warns where a network is to compute in bfloat16 on a CPU that has no instructions for it.

    Args:
        device: cpu, cuda, cuda:0, mps.
    """
    if torch.device(device).type == "cpu" and torch.backends.cpu.get_cpu_capability() in NO_BFLOAT16:
        warnings.warn("this CPU emulates bfloat16, 10 times slower than float32 or more", stacklevel=3)


def runtime_for(runtime: Runtime, device: str | torch.device, images: int) -> Runtime:
    """What computes the networks: of auto OpenVINO on a CPU where it is installed and the run is long, else PyTorch.

    Args:
        runtime: torch, openvino or auto.
        device: cpu, cuda, cuda:0, mps.
        images: of the run.

    Returns:
        torch or openvino.

    Raises:
        ConfigError: OpenVINO is asked for, and is not installed, or the device is no CPU.
    """
    installed, on_cpu = find_spec("openvino") is not None, torch.device(device).type == "cpu"
    if runtime == "auto":
        return "openvino" if installed and on_cpu and images >= PAYS_AFTER else "torch"
    if runtime == "openvino" and not on_cpu:
        raise ConfigError(f"--runtime openvino is for a CPU, and --device is {device}: leave out one of them")
    if runtime == "openvino" and not installed:
        raise ConfigError("--runtime openvino needs OpenVINO: pip install 'sqp[openvino]', or leave it out")
    return runtime


class Accelerated:
    """`network(*inputs)` by OpenVINO, of a network in eval mode on a CPU. Usable from several threads.

    While a hook is on the output of one of its modules (injected dropout), PyTorch runs it. A copy in another process
    compiles anew.

    Args:
        network: takes float32 tensors, gives one or a tuple of them.
        what: its name in a warning.
        precision: float32 or bfloat16; that of PyTorch is set by whoever calls (autocast).
        free: by input the axes whose length changes from call to call.
    """

    def __init__(
        self, network: nn.Module, what: str, precision: str = "float32", free: Sequence[Sequence[int]] = ()
    ) -> None:
        self.network, self.what, self.precision, self.free = network, what, precision, free
        self._converted: Any = None
        self._compiled: dict[Any, Any] = {}  # by the shapes of the inputs; None where PyTorch runs it
        self._lock = threading.Lock()
        self._local = threading.local()

    def __getstate__(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("network", "what", "precision", "free")}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def __call__(self, *inputs: Tensor) -> Any:
        """What the network gives: a tensor, or a tuple of tensors."""
        hooked = any(module._forward_hooks for module in self.network.modules())
        shapes = tuple(tuple(x.shape) for x in inputs)
        if not hooked and shapes not in self._compiled:
            with self._lock:
                if shapes not in self._compiled:
                    self._compiled[shapes] = self._checked(inputs) if len(self._compiled) < SHAPES else None
        if hooked or self._compiled[shapes] is None:
            return self.network(*inputs)
        requests = self._local.__dict__.setdefault("requests", {})
        if shapes not in requests:
            requests[shapes] = self._compiled[shapes].create_infer_request()
        found = _outputs(requests[shapes], inputs)
        return found if len(found) > 1 else found[0]

    def _checked(self, inputs: Sequence[Tensor]) -> Any:
        """The network compiled for such inputs; None, and a warning, where it does not give what PyTorch gives."""
        with warnings.catch_warnings(), torch.inference_mode(), torch.autocast("cpu", enabled=False):
            warnings.simplefilter("ignore")  # torch's, that tracing is old
            wanted = self.network(*inputs)
            wanted = wanted if isinstance(wanted, tuple) else (wanted,)
            why = ""
            for free in (self.free, ()) if self.free else ((),):  # some networks can be traced for one shape alone
                try:
                    compiled = self._compile(inputs, free)
                    found = _outputs(compiled.create_infer_request(), inputs)
                    far = max(_distance(*pair) for pair in zip(found, wanted, strict=True))
                    why = f"gives other numbers than PyTorch (by {far:.1g} of their length)"
                    if far <= TOLERANCE[self.precision]:
                        return compiled
                except Exception as error:  # of many kinds: an operator that it has not, no memory, its own faults
                    why = f"cannot run it ({(str(error).strip() or repr(error)).splitlines()[0]})"
        warnings.warn(f"OpenVINO {why}: PyTorch runs {self.what}", stacklevel=4)
        return None

    def _compile(self, inputs: Sequence[Tensor], free: Sequence[Sequence[int]]) -> Any:
        """For such inputs: of what was converted once with open axes, or of the network as these inputs trace it."""
        openvino = _openvino()
        shapes = [list(x.shape) for x in inputs]
        if self._converted is None or not free:
            open_shapes = [list(shape) for shape in shapes]
            for shape, axes in zip(open_shapes, free, strict=False):
                for axis in axes:
                    shape[axis] = -1
            converted = openvino.convert_model(self.network, example_input=tuple(inputs), input=open_shapes)
            self._converted = converted if free else self._converted
        else:
            converted = self._converted
        made = converted.clone()
        made.reshape(dict(enumerate(shapes)))
        told = {
            "INFERENCE_PRECISION_HINT": HINTS[self.precision],
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "NUM_STREAMS": 1,
            "ENABLE_CPU_PINNING": False,  # the workers of a run would all be pinned to the same core
        }
        return openvino.Core().compile_model(made, "CPU", told)


def _openvino() -> Any:
    """The package. As it is imported it sends word of it to its makers, unless their package for that is not there."""
    sys.modules.setdefault(TELEMETRY, None)  # type: ignore[arg-type]
    import openvino

    if sys.modules[TELEMETRY] is None:
        del sys.modules[TELEMETRY]
    return openvino


def _outputs(request: Any, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
    found = request.infer([x.contiguous().numpy() for x in inputs], share_inputs=True)
    return tuple(torch.from_numpy(np.array(values)) for values in found.values())


def _distance(found: Tensor, wanted: Tensor) -> float:
    """The length of the difference by that of what is wanted; infinite where their shapes differ, or one is NaN."""
    if found.shape != wanted.shape:
        return float("inf")
    far = float((found.double() - wanted.double()).norm() / wanted.double().norm().clamp(min=1e-12))
    return far if far == far else float("inf")
