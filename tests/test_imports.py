"""What the import contracts in pyproject.toml (`make check`) cannot say."""

from pathlib import Path

import grimp

ROOT = Path(__file__).parent.parent


def test_no_module_and_a_package_that_it_lies_in_import_each_other() -> None:
    # The contract against circles looks at siblings, and a package is no sibling of its own modules.
    graph = grimp.build_graph("loadkit", "steps", "environments", cache_dir=None)
    circles = {
        f"{module} imports {around}, which imports it"
        for module in graph.modules
        for around in graph.find_modules_directly_imported_by(module)
        if module.startswith(f"{around}.") and graph.chain_exists(importer=around, imported=module)
    }
    assert not circles


def test_there_is_no_package_named_allure_that_would_shadow_the_real_one() -> None:
    assert not (ROOT / "allure" / "__init__.py").exists()
