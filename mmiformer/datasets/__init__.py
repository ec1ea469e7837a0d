"""COCO, ADE20K and ImageNet: finding and fetching them; and the drawn scenes."""
