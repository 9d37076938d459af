"""Exports of the tools that people label with, one file a tool: each becomes rows of one rating."""
