"""Read and draw layers with PyQGIS, without a display; run by the Python that QGIS was installed for.

A line of JSON on standard input is a question, and a line on standard output answers it. Where the question has layers
(geometry, key, kind and a column of each): how many features QGIS counts, how many it reads, which values of the column
these have, how many colours it draws, and how it was refused, if it was. Where it has none: what QGIS lists.
"""

from __future__ import annotations

import json
import sys

from qgis.core import (
    QgsApplication,
    QgsDataSourceUri,
    QgsMapRendererParallelJob,
    QgsMapSettings,
    QgsProviderRegistry,
    QgsVectorLayer,
    QgsWkbTypes,
)
from qgis.PyQt.QtCore import QSize


def connection(address: dict) -> QgsDataSourceUri:
    uri = QgsDataSourceUri()
    uri.setConnection(address["host"], address["port"], address["dbname"], address["user"], address["password"])
    return uri


def browse(address: dict) -> list[dict]:
    """List what QGIS's browser shows under the schema, tables without a geometry too."""
    provider = QgsProviderRegistry.instance().providerMetadata("postgres")
    return [
        {"table": found.tableName(), "geometry": found.geometryColumn(), "key": (found.primaryKeyColumns() or [""])[0]}
        for found in provider.createConnection(connection(address).uri(False), {}).tables("public")
    ]


def look(address: dict, layer: dict) -> dict:
    """Open the layer as QGIS's browser does, with key, SRID and kind; count, read and draw it."""
    uri = connection(address)
    uri.setDataSource("public", layer["table"], layer["geometry"], "", layer["key"])
    uri.setSrid("4326")
    uri.setWkbType(QgsWkbTypes.parseType(layer["kind"]))
    opened = QgsVectorLayer(uri.uri(False), layer["table"], "postgres")
    if not opened.isValid():
        return {"error": opened.error().message() or opened.dataProvider().error().message()}
    values = [feature[layer["column"]] for feature in opened.getFeatures()]
    return {
        "counted": opened.featureCount(), "read": len(values), "colours": colours(opened),
        "values": sorted({value for value in values if isinstance(value, int | float)}),
    }  # fmt: skip


def colours(layer: QgsVectorLayer) -> int:
    settings = QgsMapSettings()
    settings.setLayers([layer])
    settings.setDestinationCrs(layer.crs())
    settings.setOutputSize(QSize(120, 90))
    settings.setExtent(layer.extent().buffered(0.001))
    job = QgsMapRendererParallelJob(settings)
    job.start()
    job.waitForFinished()
    image = job.renderedImage()
    return len({image.pixel(x, y) for x in range(image.width()) for y in range(image.height())})


def main() -> None:
    """Answer until the input ends."""
    application = QgsApplication([], False)
    application.initQgis()
    for line in sys.stdin:
        asked = json.loads(line)
        address = asked["address"]
        found = [look(address, layer) for layer in asked["layers"]] if "layers" in asked else browse(address)
        print(json.dumps(found), flush=True)
    application.exitQgis()


if __name__ == "__main__":
    main()
