"""The settings and their page say the same."""

from __future__ import annotations

from gateway.settings import CONFIG_NAME, CONFIG_VARIABLE, PREFIX, Settings
from tests.docs.pages import page


def described() -> list[str]:
    """Return the table rows that the page has to hold, in the order of the settings."""
    lines = []
    for name, field in Settings.model_fields.items():
        default = field.get_default()
        if isinstance(default, tuple):
            default = ", ".join(default)
        shown = "" if default is None or field.default_factory is not None else f"`{str(default).lower()}`"
        if name == "oidc_algorithms":
            shown = f"`{default}`"
        lines.append(f"| `{name}` | `{PREFIX}{name.upper()}` | {shown} | {field.description} |")
    return lines


def test_every_setting_is_described_as_it_is() -> None:
    found = [line for line in page("docs/settings.md").splitlines() if line.startswith("| `")]
    assert found == described(), "\n".join(described())


def test_the_page_names_the_file() -> None:
    assert CONFIG_NAME in page("docs/settings.md")
    assert CONFIG_VARIABLE in page("docs/settings.md")
