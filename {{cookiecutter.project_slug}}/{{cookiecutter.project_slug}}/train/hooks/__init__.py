"""What happens beside a step, one class each; usable in anybody's MonitoredTrainingSession."""

from .best import BestHook
from .checkpoint import CheckpointHook
from .early_stop import EarlyStopHook
from .evaluate import EvaluateHook
from .input import InputHook
from .last_step import LastStepHook
from .log import LogHook
from .nan import NanHook
from .profile import ProfileHook
from .progress import ProgressHook
from .signals import SignalHook
from .summary import SummaryHook

__all__ = [
    "BestHook",
    "CheckpointHook",
    "EarlyStopHook",
    "EvaluateHook",
    "InputHook",
    "LastStepHook",
    "LogHook",
    "NanHook",
    "ProfileHook",
    "ProgressHook",
    "SignalHook",
    "SummaryHook",
]
