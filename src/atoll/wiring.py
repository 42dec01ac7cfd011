"""Builds a process out of parts: the only module that knows everybody."""
