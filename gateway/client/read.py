"""What a gateway sent, as the models that it must be of."""

from __future__ import annotations

from typing import TypeVar

import httpx
from pydantic import BaseModel, TypeAdapter, ValidationError

from gateway.client.errors import ServerError
from gateway.wire import Problem

Model = TypeVar("Model", bound=BaseModel)


def read(model: type[Model], response: httpx.Response) -> Model:
    """Return a response as one model; ``ServerError`` if it is none."""
    try:
        return model.model_validate_json(response.content)
    except ValidationError as error:
        raise _unreadable(response) from error


def read_list(model: type[Model], response: httpx.Response) -> list[Model]:
    """Return a response as a list of a model; ``ServerError`` if it is none."""
    try:
        return TypeAdapter(list[model]).validate_json(response.content)  # type: ignore[valid-type]
    except ValidationError as error:
        raise _unreadable(response) from error


def _unreadable(response: httpx.Response) -> ServerError:
    return ServerError(
        Problem(
            type="about:blank",
            title="Unreadable answer",
            status=response.status_code,
            code="answer-unreadable",
            detail="The server's answer is none that this client understands.",
            hint="Check that the URL is a gateway's, and that client and gateway are of the same version.",
        )
    )
