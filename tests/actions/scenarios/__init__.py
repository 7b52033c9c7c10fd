"""One module an action, named as it is; see tests/actions/scenario.py and docs/howto/add-an-action.md."""
