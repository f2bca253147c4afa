"""Tests of the effective room."""
