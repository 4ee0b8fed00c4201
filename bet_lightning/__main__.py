"""``python -m bet_lightning``."""

from bet_lightning.cli import main

if __name__ == "__main__":
    main()
