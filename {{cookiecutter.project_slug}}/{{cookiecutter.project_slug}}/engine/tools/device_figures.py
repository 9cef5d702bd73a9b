"""What the trace of one step tells of a GPU: its memory, and the time that copies take."""

from __future__ import annotations

import re
from typing import Any

COPY = re.compile("memcpy", re.IGNORECASE)  # MEMCPYHtoD on 1.15, MemcpyH2D on 2.x


def device_figures(step_stats: Any) -> dict[str, float]:
    """Of a tf.RunMetadata's step_stats; nothing where no GPU took part.

    Returns:
        memory_mb, the most that was in use at a time, and copy_share, the part of the step's time
        in which something was copied to, from or within the GPU.
    """
    devices = [device for device in step_stats.dev_stats if "GPU:" in device.device.upper()]
    spans = [
        (node.all_start_micros, node.all_start_micros + node.all_end_rel_micros)
        for device in step_stats.dev_stats
        for node in device.node_stats
    ]
    if not devices or not spans:
        return {}
    nodes = [(device.device, node) for device in devices for node in device.node_stats]
    in_use = [memory.allocator_bytes_in_use for _, node in nodes for memory in node.memory]
    copies = sorted(
        (node.all_start_micros, node.all_start_micros + node.all_end_rel_micros)
        for device, node in nodes
        if COPY.search(f"{device} {node.node_name} {node.timeline_label}")
    )
    copying = end = 0
    for start, stop in copies:  # they overlap, and a trace names some twice
        copying += max(stop, end) - max(start, end)
        end = max(stop, end)
    whole = max(stop for _, stop in spans) - min(start for start, _ in spans)
    return {"memory_mb": max(in_use, default=0) / 1e6, "copy_share": copying / max(whole, 1)}
