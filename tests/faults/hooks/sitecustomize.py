"""Python imports this when it starts, where this folder is on PYTHONPATH."""

if __name__ == "sitecustomize":
    import injected

    injected.from_environment()
