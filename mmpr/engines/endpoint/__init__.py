"""`Engine` on a server with OpenAI's HTTP interface (vLLM serve, LMDeploy, others); only this package imports httpx.

`server_start` finds out what the server supports. `wire` turns prompts into JSON and replies into records. `server`
sends HTTP requests and keeps the key. `tokenizer` calls the server's tokenizer. `endpoint_engine` is the `Engine`.
"""

from mmpr.engines.endpoint.endpoint_engine import EndpointEngine
from mmpr.engines.endpoint.server_start import start_endpoint
from mmpr.engines.engine_options import EndpointOptions

__all__ = ["EndpointEngine", "EndpointOptions", "start_endpoint"]
