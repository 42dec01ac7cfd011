"""The catalog: products, stock, pictures and live prices. FastAPI; several instances share one SQLite file."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import anyio
import live
from fastapi import FastAPI, HTTPException, Query, Request, WebSocket
from fastapi import Path as PathParameter
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse
from images import LIMIT, SAFE_TYPES, Images, TooLarge
from products import OutOfStock, Products, UnknownProduct
from pydantic import BaseModel, Field
from request_log import INSTANCE, VERSION
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException as StarletteHTTPException

DATA = Path(os.environ.get("SHOP_DATA") or Path(__file__).resolve().parent.parent / "data")
SUPPLIER_VISITS = 10.0  # seconds
products = Products(DATA / "catalog.db")
images = Images(DATA / "images")


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Keep the supplier visiting while the service runs."""

    async def supplier() -> None:
        while True:
            try:
                if delivered := await run_in_threadpool(products.restock):
                    print(f"supplier delivered {delivered} products", flush=True)
            except sqlite3.Error as error:
                print(f"supplier found the door closed: {error}", flush=True)
            await anyio.sleep(SUPPLIER_VISITS)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(supplier)
        yield
        tasks.cancel_scope.cancel()
    products.close()


api = FastAPI(title="Catalog", version=VERSION, lifespan=lifespan)


ProductId = Annotated[int, PathParameter(ge=1, le=2**31)]


class Reservation(BaseModel):
    """How many to take, and a name for the act, so that repeating it takes nothing twice."""

    quantity: int = Field(ge=1, le=1000)
    reservation: str = Field(min_length=1, max_length=64)


class Release(BaseModel):
    """Which reservation to undo."""

    reservation: str = Field(min_length=1, max_length=64)


def problem(status: int, title: str, **more: Any) -> JSONResponse:
    """An error as RFC 9457 has it."""
    body = {"type": "about:blank", "title": title, "status": status, **more}
    return JSONResponse(body, status, media_type="application/problem+json")


@api.exception_handler(StarletteHTTPException)
async def on_http(_: Request, error: StarletteHTTPException) -> JSONResponse:
    return problem(error.status_code, str(error.detail))


@api.exception_handler(RequestValidationError)
async def on_invalid(_: Request, error: RequestValidationError) -> JSONResponse:
    first = error.errors()[0]
    return problem(422, "Not understood", detail=f"{'.'.join(map(str, first['loc']))}: {first['msg']}")


@api.exception_handler(UnknownProduct)
async def on_unknown(_: Request, error: UnknownProduct) -> JSONResponse:
    return problem(404, "No such product", product_id=error.args[0])


@api.exception_handler(OutOfStock)
async def on_out_of_stock(_: Request, error: OutOfStock) -> JSONResponse:
    return problem(409, "Out of stock", left=error.left)


@api.exception_handler(sqlite3.Error)
async def on_database(_: Request, error: sqlite3.Error) -> JSONResponse:
    return problem(503, "The catalog's database does not answer", detail=str(error))


@api.get("/healthz")
def healthz() -> dict[str, Any]:
    return {"status": "ok", "products": products.count(), "instance": INSTANCE, "version": VERSION}


@api.get("/products")
def list_products(
    q: Annotated[str, Query(max_length=100)] = "",
    ids: Annotated[str | None, Query(pattern=r"^\d{1,9}(,\d{1,9}){0,99}$")] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 100,
) -> dict[str, Any]:
    found = products.search(q.strip(), [int(i) for i in ids.split(",")] if ids else None, limit)
    return {"products": found, "count": len(found)}


@api.get("/products/{product_id}")
def get_product(product_id: ProductId) -> dict[str, Any]:
    return products.find(product_id)


@api.post("/products/{product_id}/reserve")
def reserve(product_id: ProductId, body: Reservation) -> dict[str, Any]:
    return products.reserve(product_id, body.quantity, body.reservation)


@api.post("/products/{product_id}/release")
def release(product_id: ProductId, body: Release) -> dict[str, Any]:
    return products.release(product_id, body.reservation)


@api.put("/products/{product_id}/image")
async def put_image(product_id: ProductId, request: Request) -> dict[str, Any]:
    await run_in_threadpool(products.find, product_id)
    too_large = HTTPException(413, f"A picture has at most {LIMIT // 2**20} MiB")
    if int(request.headers.get("content-length", 0)) > LIMIT:
        raise too_large
    try:
        sha256, size = await images.save(request.stream())
    except TooLarge:
        raise too_large from None
    media_type = request.headers.get("content-type", "")
    media_type = media_type if media_type in SAFE_TYPES else "application/octet-stream"
    if unused := await run_in_threadpool(products.set_image, product_id, sha256, size, media_type):
        images.forget(unused)
    return {"product_id": product_id, "sha256": sha256, "bytes": size}


@api.get("/products/{product_id}/image")
def get_image(product_id: ProductId) -> FileResponse:
    product = products.find(product_id)
    if product["image_sha256"] is None:
        raise HTTPException(404, "This product has no picture yet")
    headers = {"etag": f'"{product["image_sha256"]}"', "x-content-type-options": "nosniff"}
    return FileResponse(images.path(product["image_sha256"]), headers=headers, media_type=product["image_type"])


@api.websocket("/live")
async def socket(websocket: WebSocket) -> None:
    await live.serve(websocket, products)
