# SPDX-License-Identifier: Apache-2.0
"""What a viewer asks of the server, and that it gets the same pixels that were stored."""

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest
import requests
from dicomweb_client import DICOMwebClient
from pydicom.data import get_testdata_file
from pydicom.encaps import generate_frames

from tests.dicom_jobs import Running, running
from tests.dicom_objects import series_of

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")

SYNTAXES = [
    "SC_rgb_rle_2frame.dcm",
    "examples_jpeg2k.dcm",
    "JPGExtended.dcm",
    "MR_small_jpeg_ls_lossless.dcm",
    "SC_rgb_jpeg.dcm",
    "examples_ybr_color.dcm",
    "image_dfl.dcm",
    "ExplVR_BigEnd.dcm",
]
ALL = "multipart/related; type=application/octet-stream; transfer-syntax=*"


def sample(name: str) -> Path:
    return Path(str(get_testdata_file(name, download=False)))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Several series: a CT of three slices, a clip, an Enhanced CT and pydicom's files; a zip as the result."""
    folder = tmp_path_factory.mktemp("dicomweb")
    with running(folder) as server:
        ct = series_of(
            "ct",
            folder / "ct",
            StudyInstanceUID="1.2.3.1",
            PatientName="Doe^Jane",
            PatientID="CLX77",
            StudyDate="20240229",
        )
        result = folder / "result.zip"
        with zipfile.ZipFile(result, "w") as archive:
            for number, path in enumerate(
                series_of("mr", folder / "mr", StudyInstanceUID="1.2.3.2", PatientName="Roe^Richard")
            ):
                archive.write(path, f"IM{number}.dcm")
        packed = folder / "in.zip"
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in series_of("us-clip", folder / "us", StudyInstanceUID="1.2.3.3"):
                archive.write(path, "us.dcm")
        server.publish(ct, [result])
        server.publish([packed])
        server.publish(series_of("enhanced-ct", folder / "ect", StudyInstanceUID="1.2.3.4"))
        for name in SYNTAXES:
            server.publish([sample(name)])
        yield server


@pytest.fixture(scope="module")
def client(served: Running) -> DICOMwebClient:
    return DICOMwebClient(served.url + "/dicom-web", permissive_uid=True)


def get(served: Running, path: str, accept: str = "*/*", **query: str) -> requests.Response:
    return requests.get(served.url + "/dicom-web" + path, headers={"Accept": accept}, params=query, timeout=20)


def address(path: Path) -> str:
    found = pydicom.dcmread(path, stop_before_pixels=True)
    return f"/studies/{found.StudyInstanceUID}/series/{found.SeriesInstanceUID}/instances/{found.SOPInstanceUID}"


def uids(path: Path) -> tuple[str, str, str]:
    found = pydicom.dcmread(path, stop_before_pixels=True)
    return found.StudyInstanceUID, found.SeriesInstanceUID, found.SOPInstanceUID


def test_a_study_is_found_by_name_date_and_modality(client: DICOMwebClient) -> None:
    for key in (
        {"PatientName": "doe*"},
        {"PatientName": "D?e^Jane"},
        {"00100020": "CLX77"},
        {"StudyDate": "20240201-20240301", "PatientID": "CLX77"},
        {"StudyDate": "20240229-", "ModalitiesInStudy": "CT", "PatientID": "CLX*"},
    ):
        [study] = client.search_for_studies(search_filters=key)
        found = pydicom.Dataset.from_json(study)
        assert found.PatientName == "Doe^Jane"
        assert found.ModalitiesInStudy == "CT"
        assert (found.NumberOfStudyRelatedSeries, found.NumberOfStudyRelatedInstances) == (1, 3)
    assert client.search_for_studies(search_filters={"PatientName": "nobody"}) == []
    assert client.search_for_studies(search_filters={"StudyDate": "-20240228", "PatientID": "CLX77"}) == []


def test_limit_and_offset_walk_over_all_studies(client: DICOMwebClient) -> None:
    whole = [one["0020000D"]["Value"][0] for one in client.search_for_studies()]
    pages = [client.search_for_studies(limit=2, offset=at) for at in range(0, len(whole) + 2, 2)]
    assert [one["0020000D"]["Value"][0] for page in pages for one in page] == whole
    assert len(set(whole)) == len(whole) >= 8


def test_series_and_instances_are_searched_below_their_study_and_over_all(
    client: DICOMwebClient, served: Running
) -> None:
    path = next((served.folder / "ct").iterdir())
    study, series, uid = uids(path)
    [found] = client.search_for_series(study)
    assert found["0020000E"]["Value"] == [series]
    assert found["00201209"]["Value"] == [3]
    assert "00100010" not in found
    [found] = client.search_for_series(search_filters={"SeriesInstanceUID": series})
    assert found["00100010"]["Value"] == [{"Alphabetic": "Doe^Jane"}]
    assert len(client.search_for_instances(study, series)) == 3
    [found] = client.search_for_instances(search_filters={"SOPInstanceUID": f"{uid},1.2.3"}, fields=["KVP", "00280030"])
    dataset = pydicom.Dataset.from_json(found)
    original = pydicom.dcmread(path)
    assert (dataset.Rows, dataset.Columns) == (original.Rows, original.Columns)
    assert dataset.PixelSpacing == original.PixelSpacing
    assert dataset.RetrieveURL == served.url + "/dicom-web" + address(path)


@pytest.mark.parametrize(
    "query",
    [
        {"limit": "-1"},
        {"limit": "many"},
        {"offset": "1e3"},
        {"fuzzymatching": "maybe"},
        {"NoSuchKeyword": "1"},
        {"0010": "1"},
    ],
)
def test_a_search_that_cannot_be_understood_is_told_so(served: Running, query: dict[str, str]) -> None:
    answer = get(served, "/studies", **query)
    assert answer.status_code == 400
    assert answer.json()["code"] == "bad_query"


def test_fuzzy_matching_is_left_out_with_a_warning(served: Running) -> None:
    answer = get(served, "/studies", fuzzymatching="true")
    assert answer.status_code == 200
    assert "fuzzymatching" in answer.headers["Warning"]


@pytest.mark.parametrize("name", SYNTAXES)
def test_files_come_back_byte_for_byte_with_a_clean_preamble(
    name: str, client: DICOMwebClient, served: Running
) -> None:
    path = sample(name)
    [dataset] = [client.retrieve_instance(*uids(path))]
    assert dataset == pydicom.dcmread(path)
    single = get(served, address(path), "application/dicom")
    assert single.headers["Content-Type"].startswith("application/dicom")
    assert single.content[:132] == bytes(128) + b"DICM"
    assert single.content[132:] == path.read_bytes()[132:]


@pytest.mark.parametrize("name", SYNTAXES)
def test_frames_are_those_of_the_file(name: str, client: DICOMwebClient, served: Running) -> None:
    path = sample(name)
    dataset = pydicom.dcmread(path)
    count = int(dataset.get("NumberOfFrames", 1))
    frames = client.retrieve_instance_frames(*uids(path), list(range(1, count + 1)))
    if dataset.file_meta.TransferSyntaxUID.is_compressed and name != "image_dfl.dcm":
        assert frames == list(generate_frames(dataset.PixelData, number_of_frames=count))
    else:
        order = "<" if dataset.original_encoding[1] else ">"
        kind = f"u{dataset.BitsAllocated // 8}"
        import numpy as np

        expected = np.frombuffer(dataset.PixelData, order + kind).astype("<" + kind).tobytes()
        assert b"".join(frames) == expected[: len(b"".join(frames))]
        assert len(frames) == count


def test_a_series_and_a_study_come_as_one_answer(client: DICOMwebClient, served: Running) -> None:
    for folder in ("ct", "mr", "us", "ect"):
        files = sorted((served.folder / folder).iterdir())
        study, series, _ = uids(files[0])
        expected = {pydicom.dcmread(path).SOPInstanceUID: pydicom.dcmread(path) for path in files}
        for found in (client.retrieve_series(study, series), client.retrieve_study(study)):
            assert {one.SOPInstanceUID: one for one in found} == expected
        streamed = list(client.iter_series(study, series))
        assert [one.PixelData for one in streamed] == [expected[one.SOPInstanceUID].PixelData for one in streamed]


def test_frames_of_a_clip_in_a_deflated_zip_and_of_an_enhanced_object(client: DICOMwebClient, served: Running) -> None:
    for folder in ("us", "ect"):
        [path] = (served.folder / folder).iterdir()
        dataset = pydicom.dcmread(path)
        frames = client.retrieve_instance_frames(*uids(path), [3, 1])
        size = len(dataset.PixelData) // dataset.NumberOfFrames
        assert frames == [dataset.PixelData[2 * size : 3 * size], dataset.PixelData[:size]]


def test_headers_are_those_of_the_files(client: DICOMwebClient, served: Running) -> None:
    files = sorted((served.folder / "ct").iterdir())
    study, series, uid = uids(files[0])
    assert len(client.retrieve_study_metadata(study)) == len(client.retrieve_series_metadata(study, series)) == 3
    found = pydicom.Dataset.from_json(client.retrieve_instance_metadata(study, series, uid), lambda *_: b"")
    original = pydicom.dcmread(files[0])
    assert found.AvailableTransferSyntaxUID == original.file_meta.TransferSyntaxUID
    for element in original:
        if element.keyword not in ("PixelData", "SpecificCharacterSet"):
            assert found[element.tag] == element


def test_long_values_and_pixels_are_had_by_the_address_in_the_header(client: DICOMwebClient, served: Running) -> None:
    path = sample("examples_palette.dcm")
    served.publish([path])
    header = client.retrieve_instance_metadata(*uids(path))
    original = pydicom.dcmread(path)
    linked = {tag: one["BulkDataURI"] for tag, one in header.items() if "BulkDataURI" in one}
    assert "7FE00010" in linked
    for tag, link in linked.items():
        assert b"".join(client.retrieve_bulkdata(link)) == original[tag].value[: original[tag].VM and None]
        assert requests.get(link, headers={"Accept": "*/*"}, timeout=20).status_code == 200


def test_ohif_opens_a_study_in_its_order(served: Running) -> None:
    """What the prebuilt OHIF 3.13.2 was seen to ask: work list, study, headers, the patient's studies, frames."""
    path = sorted((served.folder / "ct").iterdir())[0]
    study, series, _ = uids(path)
    json_type = "application/dicom+json"
    fields = {"limit": "101", "offset": "0", "fuzzymatching": "false"}
    fields["includefield"] = "00081030,00080060,00080090,00100030"
    for key in ({}, {"StudyInstanceUID": study}, {"00100020": "CLX77"}):
        listed = get(served, "/studies", json_type, **key, **fields)
        assert study in [one["0020000D"]["Value"][0] for one in listed.json()]
        assert "Warning" not in listed.headers
    found = get(served, f"/studies/{study}/series", json_type, includefield="00080021,00080031,0008103E,00200011")
    assert [one["0020000E"]["Value"][0] for one in found.json()] == [series]
    metadata = get(served, f"/studies/{study}/metadata", json_type)
    assert metadata.headers["Content-Type"] == json_type
    for header in metadata.json():
        where = f"/studies/{study}/series/{series}/instances/{header['00080018']['Value'][0]}"
        frame = get(served, where + "/frames/1", ALL)
        assert frame.status_code == 200
        assert frame.headers["Content-Type"].startswith('multipart/related; type="application/octet-stream"; ')
        assert 'boundary="' not in frame.headers["Content-Type"]
        assert any(pydicom.dcmread(one).PixelData[: 11 * 9 * 2] in frame.content for one in path.parent.iterdir())


@pytest.mark.parametrize(
    ("name", "accept", "type_"),
    [
        ("MR_small_jpeg_ls_lossless.dcm", ALL, "image/jls"),
        ("MR_small_jpeg_ls_lossless.dcm", 'multipart/related; type="image/jls"', "image/jls"),
        (
            "MR_small_jpeg_ls_lossless.dcm",
            'multipart/related; type="image/jls"; transfer-syntax=1.2.840.10008.1.2.4.80',
            "image/jls",
        ),
        ("SC_rgb_rle_2frame.dcm", "multipart/related; type=image/dicom-rle, */*; q=0.1", "image/dicom-rle"),
        ("examples_jpeg2k.dcm", "image/jp2", "image/jp2"),
        ("JPGExtended.dcm", "image/*", "image/jpeg"),
        ("ExplVR_BigEnd.dcm", "application/octet-stream", "application/octet-stream"),
        (
            "ExplVR_BigEnd.dcm",
            'multipart/related; type="application/octet-stream"; transfer-syntax=1.2.840.10008.1.2.1',
            "application/octet-stream",
        ),
    ],
)
def test_frames_have_the_type_of_their_encoding(name: str, accept: str, type_: str, served: Running) -> None:
    answer = get(served, address(sample(name)) + "/frames/1", accept)
    assert answer.status_code == 200
    assert type_ in answer.headers["Content-Type"]
    if not answer.headers["Content-Type"].startswith("multipart"):
        assert not answer.content.startswith(b"\r\n--")


@pytest.mark.parametrize(
    ("path", "accept"),
    [
        ("/frames/1", 'multipart/related; type="application/octet-stream"'),
        ("/frames/1", "image/jpeg"),
        ("/frames/1", "text/html"),
        ("/frames/1", 'multipart/related; type="image/jls"; transfer-syntax=1.2.840.10008.1.2.4.81'),
        ("/rendered", "image/jpeg"),
        ("/thumbnail", "*/*"),
        ("/frames/1/rendered", "image/png"),
        ("", 'multipart/related; type="application/dicom"; transfer-syntax=1.2.840.10008.1.2.1'),
        ("", "application/dicom+json"),
        ("/metadata", "application/dicom+xml"),
    ],
)
def test_what_is_not_given_in_the_form_asked_for_is_refused(path: str, accept: str, served: Running) -> None:
    answer = get(served, address(sample("MR_small_jpeg_ls_lossless.dcm")) + path, accept)
    assert answer.status_code == 406
    assert answer.json()["code"] == "not_acceptable"


@pytest.mark.parametrize(
    "path",
    [
        "/studies/1.2.9",
        "/studies/1.2.9/metadata",
        "/studies/1.2.9/series/1.2/metadata",
        "/studies/..%2f/series/1/instances/1",
    ],
)
def test_what_is_not_there_is_not_found(path: str, served: Running) -> None:
    answer = get(served, path)
    assert answer.status_code == 404


def test_frames_beyond_the_last_are_not_found_and_nonsense_is_refused(served: Running) -> None:
    where = address(sample("SC_rgb_rle_2frame.dcm"))
    assert get(served, where + "/frames/3", ALL).status_code == 404
    assert get(served, where + "/frames/0", ALL).status_code == 400
    assert get(served, where + "/frames/1,x", ALL).status_code == 400
    assert get(served, where + "/bulkdata/00091010", ALL).status_code == 404


def test_two_jobs_of_one_series_are_one_series(served: Running, client: DICOMwebClient) -> None:
    files = sorted((served.folder / "ct").iterdir())
    served.publish(files[:2])
    study, series, _ = uids(files[0])
    [found] = client.search_for_series(study)
    assert found["00201209"]["Value"] == [3]
    assert len(client.retrieve_series(study, series)) == 3


def test_a_purged_job_is_not_shown_any_more(served: Running, client: DICOMwebClient) -> None:
    path = sample("liver_1frame.dcm")
    job = served.publish([path])
    assert client.search_for_studies(search_filters={"StudyInstanceUID": uids(path)[0]})
    served.parts.ledger.delete_files(job.id)
    assert get(served, address(path), "application/dicom").status_code == 404
    assert client.search_for_studies(search_filters={"StudyInstanceUID": uids(path)[0]}) == []


def test_a_zip_can_be_read_where_it_lies(served: Running, client: DICOMwebClient) -> None:
    files = sorted((served.folder / "mr").iterdir())
    study, series, _ = uids(files[0])
    found = {one.SOPInstanceUID: one.PixelData for one in client.retrieve_series(study, series)}
    assert found == {one.SOPInstanceUID: one.PixelData for one in map(pydicom.dcmread, files)}


def test_the_database_holds_nothing_of_a_patient(served: Running) -> None:
    database = (served.folder / "data" / "ledger.sqlite").read_bytes()
    for word in (b"Doe", b"CLX77", uids(next((served.folder / "ct").iterdir()))[0].encode()):
        assert word not in database


def test_frames_of_objects_without_pixels_are_not_found(served: Running) -> None:
    served.publish([sample("test-SR.dcm")])
    assert get(served, address(sample("test-SR.dcm")) + "/frames/1", ALL).status_code == 404
    dataset = pydicom.dcmread(io.BytesIO(get(served, address(sample("test-SR.dcm")), "application/dicom").content))
    assert dataset == pydicom.dcmread(sample("test-SR.dcm"))
