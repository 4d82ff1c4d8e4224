"""Post-training quantisation: choose images, measure ranges, write Q/DQ, judge the drift."""
