"""`python -m fewshot_reenact` is `reenact`."""

from fewshot_reenact.cli import main

if __name__ == "__main__":
    main(prog_name="reenact")
