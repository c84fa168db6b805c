"""In and out of the store: exports in our own layouts and TRL's, imports of ours and of other tools'."""

from instructloop.feedback.exchange.export import LAYOUTS, Exported, export
from instructloop.feedback.exchange.importing import TOOLS, ImportOptions, ImportReport, import_feedback
from instructloop.feedback.exchange.selection import Selection

__all__ = ["LAYOUTS", "TOOLS", "Exported", "ImportOptions", "ImportReport", "Selection", "export", "import_feedback"]
