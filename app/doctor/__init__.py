"""`python -m app doctor`: everything that the server leans on, tried from here. Its law: it looks and changes nothing.

A check is a function of the settings that yields findings. None holds a secret: errors of our own are safe to show, and
of others' only the type is.
"""

from app.doctor.command import doctor

__all__ = ["doctor"]
