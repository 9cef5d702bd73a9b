"""What happens beside a step, one class each; usable in anybody's MonitoredTrainingSession."""

from .checkpoint import CheckpointHook
from .evaluate import EvaluateHook
from .log import LogHook
from .signals import SignalHook
from .summary import SummaryHook

__all__ = ["CheckpointHook", "EvaluateHook", "LogHook", "SignalHook", "SummaryHook"]
