"""`python -m meshlib_adapters.gateway` is the command `meshlib`."""

from meshlib_adapters.gateway.command import main

__all__: list[str] = []

if __name__ == "__main__":
    main()
