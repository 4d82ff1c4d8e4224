"""The heads of detectors that are understood, one adapter each; the first whose `find` says yes reads a graph."""

from deploy.detection.heads.detr import DETR, DINO, RT_DETR
from deploy.detection.heads.finished import END_TO_END, NMS, SSD
from deploy.detection.heads.form import Form
from deploy.detection.heads.labelled import LABELLED, MMDEPLOY, TORCHVISION
from deploy.detection.heads.yolo import YOLOV5, YOLOV8
from deploy.detection.heads.yolox import YOLOX, YOLOX_DECODED

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
