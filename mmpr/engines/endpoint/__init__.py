"""`Engine` on a server with OpenAI's HTTP interface (vLLM serve, LMDeploy, others); alone imports httpx.

`start` finds out what the server can do, `wire` turns prompts into JSON and answers into records, `server` sends HTTP
and keeps the key, `tokenizer` is the server's own, `engine` is the `Engine` made of them.
"""

from mmpr.engines.endpoint.endpoint_engine import EndpointEngine
from mmpr.engines.endpoint.server_start import start_endpoint
from mmpr.engines.engine_options import EndpointOptions

__all__ = ["EndpointEngine", "EndpointOptions", "start_endpoint"]
