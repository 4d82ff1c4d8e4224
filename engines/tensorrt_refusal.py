"""Say in one line why TensorRT refused a graph or gave up on a plan, and what to do."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engines.tensorrt_sdk import SdkLog

LONGEST = 300  # characters of TensorRT's own words
_LISTED = 3  # refused nodes
# A builder that lacks memory first warns, tries less greedy kernels, and then fails with another message.
_NO_MEMORY = re.compile(
    r"out ?of ?memory|requested amount of gpu memory|insufficient memory|allocator error|could not be allocated",
    re.IGNORECASE,
)
_NO_WORKSPACE = re.compile(r"workspace limit|insufficient workspace", re.IGNORECASE)
# "IBuilder::buildSerializedNetwork: Error Code 4: API Usage Error (the reason. In validate at /_src/x.cpp:3810)"
_REASON = re.compile(r"Error Code \d+: [\w ]+\((?P<reason>.*?)\.? In \w+(?:\(\))? at [^()]*\)")


def refused_nodes(parser: Any, log: SdkLog) -> str:
    """Describe the parser's errors, each with its operator and node."""
    found = [_refused_node(parser.get_error(number), log) for number in range(parser.num_errors)]
    if not found:
        return _words(log.errors[0]) if log.errors else "no reason given"
    more = f"; and {len(found) - _LISTED} more" if len(found) > _LISTED else ""
    return "; ".join(found[:_LISTED]) + more


def failed_build(log: SdkLog, *, largest: int, workspace_bytes: int) -> str:
    """Describe why no plan came out; lack of memory comes with what to change."""
    told = log.errors + log.warnings
    workspace_mb = workspace_bytes >> 20
    short = next((line for line in told if _NO_MEMORY.search(line)), None)
    if short is not None:
        return (
            f"the GPU has too little free memory ({_words(short)}); build for smaller batches than {largest} or with "
            f"less workspace than {workspace_mb} MB, or stop other programs on the GPU"
        )
    short = next((line for line in told if _NO_WORKSPACE.search(line)), None)
    if short is not None:
        return f"{workspace_mb} MB of workspace are too few ({_words(short)}); allow more"
    # The first error is the cause; those behind it follow from it.
    return _words(log.errors[0]) if log.errors else "no reason given"


def _refused_node(error: Any, log: SdkLog) -> str:
    """Name operator and node; before 10.0 the error holds the node's number alone, and the log has the names."""
    if hasattr(error, "node_operator"):
        operator, node, inside = str(error.node_operator()), str(error.node_name()), list(error.local_function_stack())
    else:
        operator, node, inside = *_logged_node(log, int(error.node())), []
    reason = _words(_lines(str(error.desc())))
    if not operator:
        return reason
    where = f"node {node or int(error.node())}" + "".join(f" of {caller}" for caller in reversed(inside))
    # TensorRT's own words for an operator that it lacks: the failed condition "false", or a plugin that nobody wrote.
    if str(error.code()).endswith("UNSUPPORTED_NODE") or "Plugin not found" in reason:
        return f"operator {operator} is not supported ({where})"
    return f"operator {operator} ({where}): {reason}"


def _logged_node(log: SdkLog, number: int) -> tuple[str, str]:
    for index, line in enumerate(log.errors):
        found = re.search(rf"While parsing node number {number} \[(\w+)", line)
        if found:
            name = re.search(r'(?:\bname: "|Node name: )([^"\s]+)', " ".join(log.errors[index + 1 : index + 4]))
            return found[1], name[1] if name else ""
    return "", ""


def _lines(text: str) -> str:
    """Drop what a machine without a driver adds to every error, and the line that only repeats the node."""
    kept = [line for line in text.splitlines() if "cudaError 35" not in line and not line.startswith("Invalid Node - ")]
    return " ".join(kept) or text


def _words(text: str) -> str:
    plain = " ".join(text.split())
    found = _REASON.search(plain)
    return (found["reason"] if found else plain)[:LONGEST]
