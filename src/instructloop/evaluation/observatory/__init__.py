"""Is the reward lying? What a run paid in KL, variety, length and honesty for its reward (spec I13-I16), with alarms."""

from instructloop.evaluation.observatory.alarms import KINDS, Alarm, AlarmKind
from instructloop.evaluation.observatory.inspection import inspect, tell

__all__ = ["KINDS", "Alarm", "AlarmKind", "inspect", "tell"]
