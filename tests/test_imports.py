"""What imports what, beside the contracts of pyproject.toml that `make check` runs."""

import grimp

PRODUCTION = ("schemas", "actions", "streams", "agents", "executors", "infra", "console", "bootstrap")


def test_no_two_modules_import_each_other() -> None:
    graph = grimp.build_graph(*PRODUCTION, cache_dir=None)
    circles = [
        (module, other)
        for module in sorted(graph.modules)
        for other in graph.find_modules_directly_imported_by(module)
        if module < other and module in graph.find_modules_directly_imported_by(other)
    ]
    assert circles == []
