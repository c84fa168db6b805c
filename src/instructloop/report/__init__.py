"""The report: one offline HTML page from the files of a pipeline or a run. Torch-free."""

from instructloop.report.render import render, write_report

__all__ = ["render", "write_report"]
