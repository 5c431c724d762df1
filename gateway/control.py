"""Opening the control database, for whoever may use it: made by ``init``, refused where its schema is not known."""

from __future__ import annotations

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from gateway.settings import Settings
from gateway.store import migrate
from gateway.store.engine import ControlDatabaseError, control_engine


def open_control(settings: Settings) -> Engine:
    """Open the control database as it is; ``ControlDatabaseError`` where it is missing or of another schema.

    Why an unknown schema is refused: a gateway of another version could misread what was spent.
    """
    engine = control_engine(settings.database_url)
    try:
        found, known = migrate.current(engine), migrate.head()
    except SQLAlchemyError as error:
        engine.dispose()
        raise ControlDatabaseError(f"the control database cannot be read ({type(error).__name__})") from None
    if found != known:
        engine.dispose()
        told = "`discreet init` brings it there" if found is None else "it belongs to another version of Discreet"
        raise ControlDatabaseError(f"the control database has schema {found}, and this program knows {known}; {told}")
    return engine
