"""Pictures of one thing with Korean prompts that name it."""

from ldm.data.personalized import PersonalizedBase


class PersonalizedKorean(PersonalizedBase):
    """PersonalizedBase with Korean templates."""

    templates = (
        "{} 사진", "{}의 사진", "{}의 좋은 사진", "{} 클로즈업 사진", "{}의 잘린 사진", "{} 그림", "{}의 그림",
        "{} 렌더링", "{} 스케치", "{} 이미지",
    )
    dual_templates = ("{}와 {} 사진", "{}와 {}의 사진", "{}와 {} 그림", "{}와 {} 이미지")
