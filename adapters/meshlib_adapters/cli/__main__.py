"""`python -m meshlib_adapters.cli` is the command `meshlib`."""

from meshlib_adapters.cli.main import main

__all__: list[str] = []

if __name__ == "__main__":
    main()
