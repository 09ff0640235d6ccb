"""Publishing and managing services, and calling them."""

from __future__ import annotations

from .. import errors
from .operation import (
    BYTES,
    CHANGE,
    CONSUME,
    FILE,
    SERVICES,
    TEXT,
    Body,
    Json,
    Operation,
    json_body,
    many,
    ref,
)


def _model(required: bool) -> Body:
    form: Json = {
        "type": "object",
        "properties": {
            "description": {**TEXT, "description": "Of the version."},
            "operationId": {**TEXT, "description": "Alias: name of the call in clients."},
            "model": {**FILE, "description": "The compiled model, as serialize_model gives it."},
        },
    }
    if required:
        form["required"] = ["model"]
    return Body("form", form, "multipart/form-data")


_PUBLISH = (
    *(errors.BadRequest, errors.NotFound, errors.Conflict),
    *(errors.TooBusy, errors.CallTimeout, errors.OutOfSpace),
)
_UPDATE = (*_PUBLISH, errors.Gone)
_CALL = (*CHANGE, errors.UnsupportedMedia, errors.TooBusy, errors.CallTimeout)
_POOL = (*CHANGE, errors.Conflict, errors.TooBusy)

_VERSION = "/services/{name}/{version}"
_POOL_PATH = f"{_VERSION}/pool"
_REALTIME = "/realtime-services/{name}"
_API = "/api/{name}"
_WEB = many(ref("WebService"))
_PUBLISHED = "Published. The body is the path of the version."

MANAGEMENT = (
    Operation(
        "get", "/services", "getAllWebServices", SERVICES, "All versions of all services.", _WEB
    ),
    Operation(
        "post",
        "/services/{name}",
        "publishWebService",
        SERVICES,
        "Publish a version whose name the server makes up: a GUID.",
        TEXT,
        201,
        _PUBLISHED,
        json_body("publishRequest", "PublishWebServiceRequest"),
        fails=_PUBLISH,
    ),
    Operation(
        "get",
        "/services/{name}",
        "getAllWebServiceVersionsByName",
        SERVICES,
        "All versions of one service, the oldest first; none is an empty array.",
        _WEB,
        fails=(errors.BadRequest,),
    ),
    Operation(
        "post",
        _REALTIME,
        "publishRealtimeWebServiceByName",
        SERVICES,
        "Publish a compiled model under a version that the server makes up.",
        TEXT,
        201,
        _PUBLISHED,
        _model(True),
        fails=_PUBLISH,
    ),
    Operation(
        "post",
        _VERSION,
        "publishWebServiceVersion",
        SERVICES,
        "Publish a version.",
        TEXT,
        201,
        _PUBLISHED,
        json_body("publishRequest", "PublishWebServiceRequest"),
        fails=_PUBLISH,
    ),
    Operation(
        "patch",
        _VERSION,
        "patchWebServiceVersion",
        SERVICES,
        "Update parts of a version; what is left out stays as it is.",
        TEXT,
        body=json_body("patchRequest", "PublishWebServiceRequest"),
        fails=_UPDATE,
    ),
    Operation(
        "get",
        _VERSION,
        "getWebServiceVersion",
        SERVICES,
        "One version: an array of one.",
        _WEB,
        fails=CHANGE,
    ),
    Operation(
        "delete",
        _VERSION,
        "deleteWebServiceVersion",
        SERVICES,
        "Delete a version; its history stays.",
        TEXT,
        fails=CHANGE,
    ),
    Operation(
        "post",
        f"{_REALTIME}/{{version}}",
        "publishRealtimeWebServiceByNameVersion",
        SERVICES,
        "Publish a compiled model.",
        TEXT,
        201,
        _PUBLISHED,
        _model(True),
        fails=_PUBLISH,
    ),
    Operation(
        "patch",
        f"{_REALTIME}/{{version}}",
        "patchRealtimeWebServiceByNameVersion",
        SERVICES,
        "Update a realtime version; a part that is left out stays as it is.",
        TEXT,
        body=_model(False),
        fails=_UPDATE,
    ),
    Operation(
        "post",
        _POOL_PATH,
        "createOrUpdateServicePool",
        SERVICES,
        "Give a version workers of its own, or change how many.",
        TEXT,
        body=json_body("createOrUpdateServicePoolRequest", "CreateOrUpdateServicePoolRequest"),
        fails=_POOL,
    ),
    Operation(
        "delete",
        _POOL_PATH,
        "deleteServicePool",
        SERVICES,
        "Let a version share the common workers again.",
        TEXT,
        fails=_POOL,
    ),
    Operation(
        "get",
        _POOL_PATH,
        "getServicePoolStatus",
        SERVICES,
        "How far the version's own workers are, per compute node.",
        many(ref("ServicePoolStatusResponse")),
        fails=CHANGE,
    ),
    Operation(
        "get",
        "/services/{name}/history",
        "getServiceHistory",
        SERVICES,
        "What was live when and by whose hand, the oldest first; it outlives deletion.",
        ref("History"),
        fails=CHANGE,
    ),
    Operation(
        "get",
        f"{_VERSION}/history",
        "getVersionHistory",
        SERVICES,
        "The same of one version.",
        ref("History"),
        fails=CHANGE,
    ),
    Operation(
        "get",
        f"{_VERSION}/states",
        "getVersionStates",
        SERVICES,
        "All states of a version: what it can be rolled back to.",
        _WEB,
        fails=CHANGE,
    ),
    Operation(
        "post",
        f"{_VERSION}/rollback",
        "rollbackVersion",
        SERVICES,
        "Make an earlier state of a version current again.",
        TEXT,
        body=Body("rollbackRequest", ref("RollbackRequest"), required=False),
        fails=_UPDATE,
    ),
    Operation(
        "post",
        "/blobs/missing",
        "getMissingBlobs",
        SERVICES,
        "Which objects and files must be uploaded before a definition can name them.",
        ref("MissingBlobs"),
        body=json_body("missingRequest", "MissingBlobsRequest"),
        fails=(errors.BadRequest,),
    ),
    Operation(
        "put",
        "/blobs/{sha256}",
        "uploadBlob",
        SERVICES,
        "Upload an object or file. 200: it was there already.",
        ref("Blob"),
        201,
        "Stored.",
        Body("content", FILE, BYTES, required=False),
        fails=(errors.BadRequest, errors.OutOfSpace),
        also=200,
    ),
    Operation(
        "head",
        "/blobs/{sha256}",
        "hasBlob",
        SERVICES,
        "Whether an object or file is there; nobody gets one back out.",
        fails=(errors.BadRequest, errors.NotFound),
    ),
)

CONSUMPTION = tuple(
    operation
    for path, newest in ((f"{_API}/{{version}}", ""), (_API, "Newest"))
    for operation in (
        Operation(
            "post",
            path,
            f"consume{newest}WebService",
            CONSUME,
            "Call the newest version." if newest else "Call a version.",
            ref("WebServiceResult"),
            description="The call succeeded. Failures have these keys, too.",
            body=json_body("WebServiceParameters", "Inputs"),
            fails=_CALL,
        ),
        Operation(
            "get",
            f"{path}/swagger.json",
            f"Get{newest}WebServiceSwagger",
            CONSUME,
            "The Swagger 2.0 document of a version.",
            ref("SwaggerJsonResponse"),
            fails=CHANGE,
        ),
        Operation(
            "get",
            f"{path}/openapi.json",
            f"Get{newest}WebServiceOpenAPI",
            CONSUME,
            "The OpenAPI 3.1 document of a version.",
            ref("SwaggerJsonResponse"),
            fails=CHANGE,
        ),
    )
)
