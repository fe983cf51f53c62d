"""Chip and board descriptions (package data)."""
