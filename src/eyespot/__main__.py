"""``python -m eyespot`` is ``eyespot``."""

from eyespot.cli.main import main

main()
