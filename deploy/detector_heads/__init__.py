"""The heads of detectors that are understood, one adapter each; the first whose `find` says yes reads a graph."""

from deploy.detector_heads.detr import DETR, DINO, RT_DETR
from deploy.detector_heads.finished import END_TO_END, NMS, SSD
from deploy.detector_heads.form import Form
from deploy.detector_heads.labelled import LABELLED, MMDEPLOY, TORCHVISION
from deploy.detector_heads.yolo import YOLOV5, YOLOV8
from deploy.detector_heads.yolox import YOLOX, YOLOX_DECODED

FORMS: tuple[Form, ...] = (
    YOLOX,
    YOLOX_DECODED,
    YOLOV5,
    YOLOV8,
    END_TO_END,
    NMS,
    LABELLED,
    TORCHVISION,
    MMDEPLOY,
    DETR,
    DINO,
    RT_DETR,
    SSD,
)
