"""Views: how the parts of a result are shown. A method names them, and every page and report draws them."""

from workbench.views.figures import CurveView, GraphView, MatrixView, PointsView
from workbench.views.pages import HeadView, ImagesView, TableView, TokensView
from workbench.views.view import AbsentView, FigureView, Parts, View, drawing, read_views, save_views

__all__ = [
    "AbsentView", "CurveView", "FigureView", "GraphView", "HeadView", "ImagesView", "MatrixView", "Parts", "PointsView",
    "TableView", "TokensView", "View", "drawing", "read_views", "save_views",
]  # fmt: skip
