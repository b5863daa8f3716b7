"""Outreach sequences: at most one contact per lead, action and visit; nothing silently lost."""

__version__ = "0.1.0"
