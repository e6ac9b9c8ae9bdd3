"""`python -m bertnli` is the command `bertnli`."""

from .cli import main

if __name__ == '__main__':
    main()
