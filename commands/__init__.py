"""The commands of ``./lab``: each is a row of ``commands.txt`` and a module of that name with a ``main``."""
