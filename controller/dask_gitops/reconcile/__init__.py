"""Thin: read caches, ask the scheduler, call plan, carry actions out, write status when it changed."""
