"""Korean as people type it."""

from __future__ import annotations

import random
import unicodedata

from improvement.v2.sentences import ends_in_consonant
from pretrain.languages import CLOSE, OPEN, Meaning, Noun, Thing, maybe, weighted, words

# Words beside CLDR's names; "차@잔" only with that counter. A word is one thing's: the first that has it keeps it.
NOUNS = """
dog: 강아지, 개, 멍멍이, 댕댕이, 멍뭉이, 강쥐, 멍이, 반려견, 새끼 강아지, 아기 강아지, 강아지@마리, 개@마리
cat: 고양이, 야옹이, 냥이, 고냥이, 새끼 고양이, 아기 고양이, 길냥이, 냐옹이, 괭이, 키티, 고양이@마리
monkey: 원숭이, 원숭이@마리
fox: 여우
wolf: 늑대
lion: 사자, 라이온
tiger: 호랑이, 타이거, 호랭이
horse: 말, 말@마리, 망아지, 조랑말
unicorn: 유니콘
cow: 젖소, 암소
ox: 소, 소@마리, 황소, 송아지
pig: 돼지, 꿀꿀이, 새끼 돼지, 아기 돼지
ewe: 양, 양@마리, 어린 양
goat: 염소
llama: 라마, 알파카
camel: 낙타
mouse: 생쥐, 쥐돌이, 흰쥐
rat: 쥐, 쥐@마리, 시궁쥐
hamster: 햄스터, 햄찌
rabbit: 토끼, 토깽이, 깡총이, 산토끼
chipmunk: 다람쥐, 람쥐
bear: 곰, 곰@마리, 곰돌이, 불곰, 갈색곰
panda: 판다, 팬더, 판다곰
raccoon: 너구리, 라쿤
hippopotamus: 하마
rhinoceros: 코뿔소
kangaroo: 캥거루
sauropod: 공룡, 초식공룡, 브라키오사우루스, 브론토사우루스
T-Rex: 티라노, 티라노사우루스, 육식공룡, 티렉스
chicken: 닭, 암탉, 꼬꼬닭
rooster: 수탉, 장닭
baby chick: 병아리, 삐약이, 아기 병아리
bird: 새, 새@마리, 참새, 짹짹이
dove: 비둘기
eagle: 독수리, 매
owl: 부엉이, 올빼미
duck: 오리, 꽥꽥이, 오리@마리
swan: 백조, 고니
flamingo: 홍학, 플라밍고
peacock: 공작, 공작새
frog: 개구리, 청개구리, 개굴이
turtle: 거북이, 거북, 바다거북
crocodile: 악어
lizard: 도마뱀
snake: 뱀
dragon: 용, 용@마리, 드래곤
whale: 고래, 고래@마리, 흰긴수염고래
spouting whale: 물 뿜는 고래
seal: 물개, 바다표범
fish: 물고기, 생선, 고기@마리, 붕어
tropical fish: 열대어, 금붕어
blowfish: 복어
octopus: 문어, 낙지
spiral shell: 소라, 조개, 조개껍데기, 달팽이집
snail: 달팽이
bug: 송충이, 애벌레
ant: 개미
honeybee: 꿀벌, 벌, 벌@마리
beetle: 딱정벌레
lady beetle: 무당벌레
cricket: 귀뚜라미
spider: 거미
fly: 파리, 파리@마리
worm: 지렁이
microbe: 세균, 미생물, 바이러스
paw prints: 발자국, 곰발바닥
bouquet: 꽃다발, 부케
cherry blossom: 벚꽃, 사쿠라
lotus: 연꽃
rose: 장미, 장미꽃, 장미@송이
wilted flower: 시든 꽃, 시든 장미
hibiscus: 무궁화, 히비스커스
blossom: 꽃송이, 들꽃
seedling: 새싹, 떡잎
potted plant: 화분, 화초, 분재
evergreen tree: 소나무, 상록수, 전나무, 소나무@그루
deciduous tree: 나무, 나무@그루, 느티나무
palm tree: 야자수, 야자나무
sheaf of rice: 벼, 벼이삭
herb: 풀, 허브, 약초
shamrock: 토끼풀, 세잎클로버
four leaf clover: 네잎클로버, 네잎 클로버, 클로버
maple leaf: 단풍잎, 단풍
fallen leaf: 낙엽
leaf fluttering in wind: 나뭇잎, 잎사귀
nest with eggs: 새둥지, 둥지
mushroom: 버섯, 독버섯
tangerine: 귤, 오렌지, 감귤, 한라봉
red apple: 사과, 빨간 사과, 빨간사과, 사과@개, 사과@알, 애플
green apple: 초록 사과, 풋사과, 초록사과, 청사과, 녹색 사과, 초록색 사과, 아오리
pear: 배, 배@개, 먹는 배
peach: 복숭아
cherries: 체리, 버찌, 앵두
blueberries: 블루베리
kiwi fruit: 키위, 참다래
tomato: 토마토, 방울토마토
eggplant: 가지, 가지@개
ear of corn: 옥수수, 강냉이
hot pepper: 고추, 빨간 고추, 홍고추, 청양고추
bell pepper: 피망, 파프리카
leafy green: 상추, 배추, 녹색 채소, 양배추, 시금치
peanuts: 땅콩
beans: 콩, 강낭콩
chestnut: 밤, 밤@개, 밤@톨, 군밤
bread: 빵, 식빵
croissant: 크루아상, 크로와상, 크로아상
baguette bread: 바게트, 바게트빵
pancakes: 팬케이크, 핫케이크, 팬케익
cheese wedge: 치즈
meat on bone: 고기, 갈비, 뼈에 붙은 고기
poultry leg: 닭다리, 치킨, 닭고기, 통닭, 프라이드치킨
cut of meat: 스테이크, 고깃덩이, 소고기
bacon: 베이컨
hamburger: 햄버거, 버거, 치즈버거
french fries: 감자튀김, 감튀, 프렌치프라이, 후렌치후라이
hot dog: 핫도그, 소시지
sandwich: 샌드위치, 토스트
egg: 달걀, 계란, 삶은 달걀
cooking: 프라이팬, 계란 프라이, 계란후라이, 달걀프라이, 후라이팬
pot of food: 국, 찌개, 탕, 국@그릇, 전골, 냄비
shallow pan of food: 납작한 냄비, 빠에야
bowl with spoon: 시리얼, 죽
green salad: 샐러드, 야채샐러드, 야채 샐러드
canned food: 통조림, 참치캔
bento box: 도시락
rice cracker: 센베이, 주먹밥
rice ball: 삼각김밥, 삼각 김밥
cooked rice: 밥, 밥@그릇, 밥@공기, 쌀밥, 흰밥, 공기밥, 흰쌀밥
curry rice: 카레, 카레라이스, 카레밥
steaming bowl: 라면, 국수, 우동, 면, 라멘, 쌀국수, 칼국수, 라면@그릇, 국수@그릇
spaghetti: 스파게티, 파스타
roasted sweet potato: 고구마, 군고구마
oden: 오뎅, 어묵꼬치, 오뎅꼬치
sushi: 초밥, 스시, 김밥
fried shrimp: 새우튀김
fish cake with swirl: 어묵
moon cake: 월병
dango: 떡꼬치, 당고, 경단
dumpling: 만두, 군만두, 교자, 물만두
takeout box: 테이크아웃 상자, 포장 상자
crab: 게, 게@마리, 꽃게, 크랩, 대게
lobster: 랍스터, 바닷가재, 가재
shrimp: 새우, 대하
squid: 오징어
oyster: 굴, 석화
soft ice cream: 소프트아이스크림, 아이스크림콘, 콘 아이스크림, 소프트콘
shaved ice: 빙수, 팥빙수, 샤베트
ice cream: 아이스크림
doughnut: 도넛, 도너츠, 도너스
cookie: 쿠키, 과자, 초코칩 쿠키, 비스킷
birthday cake: 생일 케이크, 생일케이크, 케이크, 케익, 생일 케익
shortcake: 조각 케이크, 조각케이크, 쇼트케이크, 딸기 케이크
cupcake: 컵케이크, 머핀, 컵케익
pie: 파이
chocolate bar: 초콜릿, 초콜렛, 초코바, 쵸코렛
candy: 사탕, 캔디, 알사탕
lollipop: 막대 사탕, 막대사탕, 롤리팝, 츄파춥스
custard: 푸딩
honey pot: 꿀, 꿀단지, 벌꿀
baby bottle: 젖병
glass of milk: 우유, 우유@잔, 밀크
hot beverage: 커피, 커피@잔, 뜨거운 커피, 뜨거운 음료, 아메리카노, 따뜻한 커피, 코코아, 핫초코
teapot: 찻주전자, 주전자, 티포트
teacup without handle: 차@잔, 녹차, 찻잔, 녹차@잔, 홍차
sake: 사케, 소주, 술, 술@병, 술@잔, 정종
bottle with popping cork: 샴페인, 와인병, 샴페인@병, 와인@병
wine glass: 와인, 와인잔, 포도주, 와인@잔, 레드와인
cocktail glass: 칵테일, 칵테일@잔, 마티니
tropical drink: 음료수, 열대 음료
beer mug: 맥주잔, 맥주@잔, 생맥주
clinking beer mugs: 맥주, 건배하는 맥주잔
clinking glasses: 샴페인 잔, 샴페인잔
tumbler glass: 위스키, 양주, 양주잔, 위스키@잔
cup with straw: 주스, 콜라, 쥬스, 탄산음료, 사이다, 빨대 컵, 컵, 컵@개
bubble tea: 버블티, 밀크티
beverage box: 음료 팩, 주스 팩, 팩음료
ice: 얼음, 각얼음
fork and knife with plate: 접시, 포크와 나이프가 있는 접시
fork and knife: 포크, 나이프와 포크
spoon: 숟가락, 스푼, 수저
kitchen knife: 식칼, 부엌칼, 칼, 칼@자루
jar: 유리병, 작은 병, 항아리, 병, 단지
globe showing Europe-Africa: 지구본
globe with meridians: 지구, 지구@개
world map: 세계 지도, 세계지도, 지도
map of Japan: 일본 지도
snow-capped mountain: 눈 덮인 산, 설산, 눈산
mountain: 산
volcano: 화산
mount fuji: 후지산
beach with umbrella: 해변, 바닷가, 해수욕장
desert: 사막
desert island: 섬, 무인도
stadium: 경기장, 스타디움, 운동장
classical building: 신전, 박물관
building construction: 공사장, 건물 공사
brick: 벽돌
rock: 바위, 돌, 돌멩이
wood: 통나무, 목재, 나무토막, 장작
hut: 오두막, 움막, 오두막집
houses: 주택가, 마을
derelict house: 폐가, 낡은 집
house: 집, 집@채, 주택, 우리집
house with garden: 정원이 있는 집, 전원주택, 마당 있는 집
office building: 빌딩, 고층 빌딩, 회사, 사무실
post office: 우체국
convenience store: 편의점
love hotel: 모텔
castle: 성, 유럽 성, 궁전, 성@채
wedding: 결혼식, 예식장
Statue of Liberty: 자유의 여신상
church: 교회, 성당
shinto shrine: 신사
fountain: 분수, 분수대
night with stars: 밤하늘
cityscape: 도시, 도시 전경
sunrise over mountains: 산에서 떠오르는 해
sunrise: 일출, 해돋이
sunset: 일몰, 노을, 저녁노을
bridge at night: 다리, 다리 야경, 밤의 다리
hot springs: 온천
carousel horse: 회전목마, 회전 목마
playground slide: 미끄럼틀
ferris wheel: 관람차, 대관람차
roller coaster: 롤러코스터
circus tent: 서커스, 서커스 천막
locomotive: 기관차, 증기기관차, 증기 기관차
train: 기차, 열차, 칙칙폭폭
bullet train: KTX, 고속철, 고속철도
high-speed train: 고속열차, 신칸센
metro: 지하철
station: 기차역, 지하철역, 역, 전철역
tram: 트램, 전차
mountain railway: 산악 열차
bus: 버스, 시내버스, 버스@대
minibus: 미니버스, 봉고차, 마을버스
ambulance: 구급차, 앰뷸런스, 응급차, 엠뷸런스
fire engine: 소방차, 불자동차
police car: 경찰차, 순찰차
taxi: 택시
automobile: 자동차, 차, 차@대, 승용차, 부릉이, 빵빵, 자가용
sport utility vehicle: 지프, 지프차, SUV, 짚차
pickup truck: 픽업트럭, 트럭, 트럭@대
delivery truck: 배달 트럭, 택배차, 운송 트럭, 용달차
articulated lorry: 트레일러, 화물차
tractor: 트랙터, 경운기
racing car: 경주용 자동차, 레이싱카, 경주차, 스포츠카, F1
motorcycle: 오토바이, 바이크
motor scooter: 스쿠터, 전동 스쿠터
bicycle: 자전거
kick scooter: 킥보드, 씽씽이, 씽씽카
skateboard: 스케이트보드, 보드
roller skate: 롤러스케이트, 인라인스케이트
bus stop: 버스 정류장, 버스정류장, 정류장
motorway: 고속도로, 도로
railway track: 철길, 기찻길, 선로
fuel pump: 주유소, 주유기
wheel: 바퀴, 타이어, 휠
police car light: 사이렌, 경광등
vertical traffic light: 신호등
stop sign: 정지 표지판, 멈춤 표지판
ring buoy: 튜브, 구명튜브, 구명환
sailboat: 돛단배, 요트, 범선
canoe: 카누, 나룻배
speedboat: 쾌속정, 보트, 스피드보트
passenger ship: 여객선, 유람선, 크루즈
motor boat: 모터보트
ship: 선박, 배@척, 배@대, 화물선
airplane: 비행기, 여객기, 뱅기
small airplane: 경비행기
helicopter: 헬리콥터, 헬기
aerial tramway: 케이블카
satellite: 인공위성, 위성
rocket: 로켓, 로케트, 우주선, 우주 로켓
flying saucer: 비행접시, UFO, 유에프오
luggage: 여행용 가방, 여행 가방, 캐리어, 트렁크
hourglass not done: 모래시계
watch: 손목시계, 시계, 손목 시계
alarm clock: 알람시계, 자명종, 알람 시계, 탁상시계
mantelpiece clock: 벽시계, 괘종시계
full moon: 보름달, 둥근 달, 달, 달@개
crescent moon: 초승달, 눈썹달, 반달
full moon face: 달님, 얼굴 있는 달
sun: 태양, 해, 해@개
sun with face: 해님, 햇님, 웃는 해, 웃는 태양
ringed planet: 토성, 행성
star: 별, 별@개, 별님
glowing star: 반짝이는 별, 빛나는 별, 반짝별, 반짝반짝 작은 별
shooting star: 별똥별, 유성
milky way: 은하수, 은하
cloud: 구름, 뭉게구름
sun behind cloud: 구름 뒤의 해
cloud with rain: 비구름, 먹구름
cloud with lightning: 번개구름
tornado: 토네이도, 회오리바람, 회오리
cyclone: 태풍, 소용돌이
umbrella: 우산, 양산
umbrella on ground: 파라솔
high voltage: 번개, 번개 표시
snowflake: 눈송이, 눈, 눈꽃, 눈결정
snowman: 눈사람
fire: 불, 모닥불, 불길
droplet: 물방울, 물
water wave: 파도, 물결
jack-o-lantern: 호박, 할로윈 호박, 잭오랜턴, 호박등, 핼러윈 호박
Christmas tree: 크리스마스 트리, 크리스마스트리, 트리, 성탄 트리
fireworks: 불꽃놀이, 폭죽놀이
firecracker: 폭죽, 다이너마이트
sparkles: 반짝이, 반짝임
balloon: 풍선
red envelope: 세뱃돈, 세뱃돈 봉투
ribbon: 리본
wrapped gift: 선물, 선물상자, 선물 상자
ticket: 티켓, 표, 입장권, 표@장, 티켓@장
trophy: 트로피, 우승컵
sports medal: 메달
1st place medal: 금메달
soccer ball: 축구공, 공, 공@개
baseball: 야구공, 야구
basketball: 농구공, 농구
volleyball: 배구공
rugby football: 럭비공
tennis: 테니스공, 테니스 라켓, 테니스
bowling: 볼링, 볼링공, 볼링핀
ping pong: 탁구, 탁구채, 탁구공
badminton: 배드민턴, 배드민턴채, 셔틀콕
boxing glove: 권투 글러브, 복싱 글러브, 권투장갑, 글러브
martial arts uniform: 도복, 태권도복, 태권도
flag in hole: 골프, 골프 깃발
ice skate: 스케이트, 스케이트화, 아이스 스케이트
fishing pole: 낚싯대, 낚시대
skis: 스키
sled: 썰매, 눈썰매
bullseye: 과녁, 다트판, 표적
yo-yo: 요요
kite: 연, 가오리연, 방패연
water pistol: 물총, 권총, 총
pool 8 ball: 당구공, 당구
crystal ball: 수정구슬, 수정 구슬, 구슬
magic wand: 마법 지팡이, 요술봉, 마술봉, 마법봉
video game: 게임기, 게임 패드, 게임패드
joystick: 조이스틱
slot machine: 슬롯머신
game die: 주사위
puzzle piece: 퍼즐, 퍼즐 조각
teddy bear: 곰인형, 테디베어, 곰 인형, 곰돌이 인형, 봉제인형
nesting dolls: 마트료시카, 러시아 인형
chess pawn: 체스말, 체스 말
performing arts: 가면, 탈
framed picture: 액자, 그림 액자
artist palette: 팔레트, 물감
thread: 실, 실타래
yarn: 털실, 실뭉치, 뜨개실
sewing needle: 바늘, 재봉바늘
glasses: 안경
sunglasses: 선글라스, 썬글라스
necktie: 넥타이
t-shirt: 티셔츠, 셔츠, 티
jeans: 청바지, 바지
scarf: 목도리, 스카프, 머플러
gloves: 장갑
coat: 코트, 외투, 점퍼, 재킷
socks: 양말
dress: 원피스, 드레스
one-piece swimsuit: 수영복
shorts: 반바지
woman’s clothes: 블라우스, 여성복
purse: 지갑
handbag: 핸드백, 가방, 손가방, 가방@개
backpack: 배낭, 책가방, 백팩, 학교 가방
thong sandal: 슬리퍼, 쪼리
man’s shoe: 구두, 신사화, 남자 구두
running shoe: 운동화, 신발, 스니커즈, 신발@켤레
hiking boot: 등산화
high-heeled shoe: 하이힐, 뾰족구두
woman’s sandal: 샌들
woman’s boot: 부츠, 장화
crown: 왕관
woman’s hat: 밀짚모자, 여성용 모자
top hat: 마술사 모자, 중절모, 실크햇
billed cap: 야구모자, 모자, 캡, 모자@개, 야구 모자
graduation cap: 졸업 모자, 학사모
military helmet: 철모, 군용 헬멧, 헬멧
lipstick: 립스틱, 루즈
ring: 반지, 다이아 반지, 가락지
gem stone: 보석, 다이아몬드, 다이아, 원석
loudspeaker: 확성기
megaphone: 메가폰
bell: 종, 종@개, 방울
musical score: 높은음자리표
musical note: 음표
microphone: 마이크
headphone: 헤드폰, 헤드셋, 이어폰
saxophone: 색소폰
guitar: 기타, 통기타, 기타@대
musical keyboard: 피아노, 건반, 키보드 피아노
trumpet: 트럼펫, 나팔
violin: 바이올린
drum: 드럼, 북, 북@개
mobile phone: 휴대폰, 핸드폰, 스마트폰, 폰, 휴대전화, 아이폰, 갤럭시
telephone: 전화기, 전화, 집전화
telephone receiver: 수화기
battery: 배터리, 건전지, 밧데리
electric plug: 플러그, 전기 플러그, 콘센트
laptop: 노트북, 랩탑, 노트북 컴퓨터
desktop computer: 컴퓨터, 데스크톱, 데스크탑, 피씨, 모니터
printer: 프린터, 프린터기
keyboard: 키보드, 자판
computer mouse: 마우스, 컴퓨터 마우스
optical disk: 씨디, CD
movie camera: 영화 카메라, 촬영기
clapper board: 슬레이트
television: 텔레비전, TV, 티비, 테레비, 텔레비젼
camera: 카메라, 사진기, 디카
video camera: 캠코더, 비디오카메라
magnifying glass tilted left: 돋보기
candle: 양초, 촛불, 초, 초@개, 캔들
light bulb: 전구, 백열전구
flashlight: 손전등, 플래시, 후레쉬
red paper lantern: 등불, 홍등, 초롱
closed book: 책, 책@권, 덮인 책
open book: 펼친 책, 펼쳐진 책
books: 책 여러 권, 책들, 책더미
notebook: 공책
scroll: 두루마리 문서, 문서
newspaper: 신문
bookmark: 책갈피
label: 라벨, 꼬리표
money bag: 돈주머니, 돈자루, 돈
coin: 동전, 코인
dollar banknote: 달러, 지폐
credit card: 신용카드, 카드
receipt: 영수증
envelope: 봉투, 편지봉투, 편지
e-mail: 이메일
package: 택배, 소포, 상자, 박스, 택배상자
postbox: 우체통, 빨간 우체통
closed mailbox with raised flag: 닫힌 우편함
pencil: 연필
pen: 볼펜, 펜
fountain pen: 만년필
paintbrush: 붓, 그림붓
crayon: 크레용, 크레파스
memo: 메모, 메모지, 쪽지
briefcase: 서류 가방, 서류가방
file folder: 폴더, 파일
calendar: 달력, 캘린더
bar chart: 막대그래프, 막대 그래프, 그래프
clipboard: 클립보드
pushpin: 압정, 핀
paperclip: 클립
straight ruler: 자, 직자
triangular ruler: 삼각자
scissors: 가위
wastebasket: 쓰레기통, 휴지통
locked: 자물쇠, 잠긴 자물쇠
key: 열쇠, 키
hammer: 망치
axe: 도끼
pick: 곡괭이
dagger: 단검, 단도
crossed swords: 칼 두 자루, 쌍칼, 검
bomb: 폭탄
bow and arrow: 활, 활과 화살, 양궁
shield: 방패
carpentry saw: 톱, 톱@개
wrench: 렌치, 스패너
screwdriver: 드라이버, 나사돌리개
nut and bolt: 나사, 볼트, 너트
gear: 톱니바퀴, 기어
balance scale: 저울, 천칭
chains: 사슬, 쇠사슬
toolbox: 공구함, 공구통, 공구 상자
magnet: 자석, 말굽자석
ladder: 사다리
test tube: 시험관
microscope: 현미경
telescope: 망원경, 천체망원경
satellite antenna: 안테나, 위성 안테나
syringe: 주사기, 주사
pill: 알약, 약, 캡슐
adhesive bandage: 반창고, 밴드, 대일밴드
stethoscope: 청진기
door: 문, 문@개, 방문
window: 창문, 창
mirror: 거울
bed: 침대
couch and lamp: 소파, 쇼파
chair: 의자
toilet: 변기, 화장실
shower: 샤워기, 샤워
bathtub: 욕조
razor: 면도기, 면도칼
lotion bottle: 로션, 샴푸
broom: 빗자루
basket: 바구니, 빨래바구니
roll of paper: 휴지, 두루마리 휴지, 화장지
bucket: 양동이, 물통
soap: 비누
bubbles: 비눗방울, 거품, 비누거품
toothbrush: 칫솔
sponge: 스펀지, 수세미
fire extinguisher: 소화기
shopping cart: 쇼핑카트, 카트, 장바구니
cigarette: 담배
coffin: 관
headstone: 묘비, 비석, 무덤
identification card: 신분증, 주민등록증, 학생증
skull: 해골, 해골바가지, 두개골
pile of poo: 똥, 응가
clown face: 광대, 삐에로, 피에로
ogre: 도깨비, 도깨비 가면
goblin: 코주부 도깨비, 코주부
ghost: 유령, 귀신
alien: 외계인
robot: 로봇, 로보트
love letter: 러브레터, 연애편지
red heart: 하트, 빨간 하트, 사랑표, 빨간하트
broken heart: 깨진 하트, 부서진 하트
kiss mark: 입술, 키스마크, 입술 자국
collision: 폭발
hole: 구멍
speech balloon: 말풍선
smiling face: 웃는 얼굴, 미소 짓는 얼굴, 스마일
crying face: 우는 얼굴
angry face: 화난 얼굴
sleeping face: 자는 얼굴
smiling face with sunglasses: 선글라스 낀 얼굴, 선글라스 쓴 얼굴
thinking face: 생각하는 얼굴
lab coat: 실험복, 가운, 의사 가운
chopsticks: 젓가락
x-ray: 엑스레이
dna: 디엔에이, 유전자
moai: 모아이, 모아이 석상
fog: 안개
rainbow: 무지개
comet: 혜성
anchor: 닻
parachute: 낙하산
elevator: 엘리베이터, 승강기
tent: 텐트, 천막
school: 학교, 초등학교
hospital: 병원
bank: 은행
hotel: 호텔
factory: 공장
department store: 백화점
""".strip()

# English colour -> adjectives | nouns, which take -색 | adverbs
COLOURS: dict[str, tuple[str, ...]] = {
    "red": ("빨간, 빨간색, 붉은, 새빨간", "빨강, 빨간색, 적색, 빨강색, 레드, 다홍색", "빨갛게, 빨간색으로"),
    "orange": ("주황색, 주황, 주황빛", "주황, 주황색, 오렌지색, 오렌지, 귤색", "주황색으로, 오렌지색으로"),
    "yellow": ("노란, 노란색, 샛노란", "노랑, 노란색, 노랑색, 옐로우, 황색", "노랗게, 노란색으로"),
    "green": ("초록, 초록색, 녹색, 푸르른", "초록, 초록색, 녹색, 연두색, 그린, 연두, 풀색",
        "초록색으로, 녹색으로, 초록으로"),
    "blue": ("파란, 파란색, 푸른, 하늘색, 새파란", "파랑, 파란색, 파랑색, 하늘색, 남색, 청색, 블루, 하늘, 군청색",
             "파랗게, 파란색으로, 하늘색으로"),
    "purple": ("보라색, 보라, 보랏빛", "보라, 보라색, 자주색, 퍼플, 자색, 연보라", "보라색으로, 보라로"),
    "pink": ("분홍, 분홍색, 핑크, 분홍빛", "분홍, 분홍색, 핑크색, 핑크, 연분홍", "분홍색으로, 핑크로, 핑크색으로"),
    "brown": ("갈색, 밤색", "갈색, 밤색, 고동색, 브라운, 황토색, 커피색", "갈색으로, 밤색으로"),
    "black": ("검은, 검은색, 까만, 검정, 시커먼, 새까만", "검정, 검은색, 검정색, 까만색, 블랙, 흑색",
        "까맣게, 검은색으로, 검정으로"),
    "white": ("하얀, 하얀색, 흰, 흰색, 새하얀", "하양, 흰색, 하얀색, 화이트, 백색", "하얗게, 흰색으로, 하얀색으로"),
    "gray": ("회색, 잿빛", "회색, 그레이, 쥐색, 잿빛", "회색으로"),
    "turquoise": ("청록색, 청록, 옥색, 민트색", "청록, 청록색, 옥색, 민트색, 민트, 터키색, 에메랄드색",
        "청록색으로, 민트색으로"),
}
STRANGE_COLOURS = words("금색, 은색, 투명한, 베이지색, 무지개색, 금빛, 은빛, 황금색, 체크무늬, 줄무늬, 형광색, "
    "상아색, 살구색, 구리색, 알록달록한, 얼룩덜룩한, 물방울무늬, 반투명, 유리, 나무결, 와인색")
COLOURS["odd"] = tuple(", ".join(f"{OPEN}{word}{CLOSE}{ending}" for word in STRANGE_COLOURS) for ending in ("", "",
    "으로"))
SIZES = {
    "big": ("큰, 커다란, 엄청 큰, 거대한, 대형, 아주 큰, 매우 큰, 큼직한, 큼지막한, 왕, 왕큰, 제일 큰, 큰 큰, "
        "초대형, 정말 큰",
            "크게, 커다랗게, 큼지막하게, 큼직하게, 엄청 크게, 좀 크게, 더 크게, 아주 크게"),
    "small": ("작은, 조그만, 조그마한, 쪼그만, 자그마한, 아주 작은, 미니, 소형, 쪼끄만, 꼬마, 작고, 조그맣고",
              "작게, 조그맣게, 조그마하게, 아주 작게, 좀 작게, 더 작게, 쪼끄맣게"),
}
FILLERS = words("귀여운, 예쁜, 멋진, 맛있는, 이쁜, 멋있는, 신선한, 무서운, 착한, 행복한, 귀엽고 예쁜, 예쁘고, "
    "싱싱한, 새로운, 평범한, "
                "깜찍한, 사랑스러운, 근사한, 아름다운, 잘생긴, 심심한, 배고픈, 신나는, 뜨끈한, 시원한, 잘 익은, "
                    "좋은, 재미있는, 힘센, 통통한, 아기, "
                "새끼, 새끼, 아기, 우리, 우리 집, 내, 제, 나의, 저의, 이, 그, 저, 아까 그, 내가 좋아하는, "
                    "그 유명한, 진짜, 살아 있는")
COUNTERS = {
    "mammal": "마리", "bird": "마리", "amphibian": "마리", "reptile": "마리", "marine": "마리", "bug": "마리",
    "flower": "송이", "ground": "대", "air": "대", "drink": "잔", "fruit": "개, 알", "vegetable": "개",
    "building": "채, 개", "paper": "권, 장, 개", "clothing": "벌, 개", "instrument": "대, 개", "phone": "대, 개",
    "computer": "대, 개", "writing": "자루, 개", "water": "척, 대", "prepared": "개, 그릇, 접시, 인분",
        "asian": "개, 그릇, 접시",
    "money": "장, 개", "office": "개, 장", "video": "대, 개", "cat": "마리", "monkey": "마리", "dishware": "개, 자루",
}
# Of single things: what their kind does not tell.
COUNTERS_OF = {
    "evergreen tree": "그루", "deciduous tree": "그루", "palm tree": "그루", "cactus": "그루, 개",
        "Christmas tree": "그루, 개",
    "socks": "켤레", "gloves": "켤레", "running shoe": "켤레", "man’s shoe": "켤레", "high-heeled shoe": "켤레",
    "woman’s boot": "켤레", "hiking boot": "켤레", "chopsticks": "벌, 쌍, 개", "ticket": "장", "bouquet": "다발, 개",
    "kitchen knife": "자루", "candle": "자루, 개", "scissors": "개, 자루", "hammer": "개, 자루", "house": "채",
        "book": "권",
    "closed book": "권", "open book": "권", "notebook": "권", "newspaper": "부, 장", "credit card": "장",
        "sake": "병, 잔",
    "bottle with popping cork": "병", "clinking beer mugs": "잔, 병", "cooked rice": "그릇, 공기",
        "bread": "개, 조각, 쪽",
    "pizza": "판, 조각, 개", "robot": "대, 개, 마리", "ghost": "명, 마리, 개", "alien": "명, 마리",
        "snowman": "개, 명",
    "roll of paper": "개, 통", "tent": "동, 개", "pill": "알, 개", "chestnut": "톨, 개", "grapes": "송이, 개",
        "banana": "개, 송이",
    "watermelon": "통, 개", "butterfly": "마리", "dragon": "마리", "unicorn": "마리", "umbrella": "개",
        "bicycle": "대",
    "lollipop": "개", "camera": "대, 개", "television": "대", "skis": "쌍, 개", "earrings": "쌍", "ladder": "개",
        "piano": "대",
    "meat on bone": "개, 점, 덩이", "pencil": "자루, 개", "sailboat": "척, 대", "ship": "척, 대",
        "maple leaf": "장, 개", "envelope": "장, 통, 개",
}
NATIVE = ("", "한", "두", "세", "네", "다섯", "여섯", "일곱", "여덟", "아홉", "열")
ALONE = ("", "하나", "둘", "셋", "넷", "다섯", "여섯", "일곱", "여덟", "아홉", "열")
SINO = ("", "일", "이", "삼", "사", "오", "육", "칠", "팔", "구", "십")

FRAMES = {
    "photo": "사진, 포토, 실사 사진, 사진", "picture": "그림, 그림, 일러스트, 삽화",
        "drawing": "스케치, 스케치, 드로잉, 소묘",
    "emoji": "이모지, 이모티콘, 이모지", "image": "이미지", "rendering": "렌더링",
        "close-up": "클로즈업 사진, 클로즈업, 근접 사진, 확대 사진",
}
GROUNDS = (("배경", 40), ("바탕", 12), ("백그라운드", 1), ("뒷배경", 1), ("벽", 1), ("종이", 1), ("도화지", 1), ("천",
    1), ("식탁", 1),
           ("테이블", 1), ("카펫", 1), ("러그", 1), ("바닥", 1), ("담요", 1), ("접시", 1), ("책상", 1), ("화면", 1),
           ("방", 1), ("캔버스", 1))
SKIES = {"blue": "하늘, 바다, 물", "green": "풀밭, 잔디밭, 들판, 숲, 잔디", "black": "밤하늘, 어둠",
    "white": "눈밭, 종이"}

STEMS = words("그려, 그려, 그려, 그려, 그려, 만들어, 보여, 넣어, 놓아, 놔, 올려, 띄워, 세워, 뽑아, 추가해, 생성해, "
    "그려서 보여, 붙여, 배치해, 해, 찾아, "
              "앉혀, 담아, 완성해, 출력해, 꺼내, 찍어, 디자인해, 표현해, 둬, 그려 넣어, 얹어")
ENDINGS = words("줘, 줘, 줘, 줘요, 주세요, 주세요, 주세요, 주세용, 줘라, 주라, 줄래, 줄래?, 줄래요, 줄래요?, "
    "주실래요, 주실래요?, 주십시오, "
                "주시겠어요, 주시겠어요?, 주시겠습니까, 줄 수 있어?, 줄 수 있어요?, 줄 수 있나요?, 주실 수 있나요, "
                    "주실 수 있나요?, "
                "주실 수 있어요?, 주실 수 있을까요?, 줄 수 있니, 줘봐, 줘 봐, 봐, 봐요, 봐라, 보세요, 주면 좋겠어, "
                    "주면 안 돼?, 주면 고맙겠어, "
                "주시면 감사하겠습니다, 줬으면 좋겠어, 주셨으면 좋겠어요, 주시면 좋겠습니다, 달라, 줘잉, 주시죠, "
                    "주셔요, 주시오, 줍시다, 주길 바랍니다, "
                "죠, 주삼, 주셈, 주새요, 쥬세요, 줭, 주떼요, 조, 줘 제발, 줘!, 주세요!, 주세요~, 줘~, 줘 ㅎㅎ, "
                    "줘 ㅋㅋ, 주랑")
DESIRES = words("부탁해, 부탁해요, 부탁드려요, 부탁드립니다, 부탁합니다, 부탁, 부탁할게, 부탁해용, 부탁드릴게요, "
    "주세요, 주세요!, 줘, 주라, 주십시오, 주시겠어요?, 원해요, 원합니다, 원해, "
                "필요해, 필요해요, 필요합니다, 있으면 좋겠다, 있으면 좋겠어, 있으면 예쁠 듯, 있었으면 해요, "
                    "보고 싶어, 보고 싶어요, 보고 싶습니다, 보고싶다, "
                "갖고 싶어, 가지고 싶어요, 먹고 싶다, 어때, 어때?, 어때요?, 어떨까, 어떨까요, 가능?, 가능해?, "
                    "가능할까요?, 가능한가요, 되나요, 될까요?, 있어?, 있어요?, 있나요?, "
                "있습니까, 있음?, ㄱㄱ, 고고, 플리즈, 좋겠다, 좋을 것 같아, 좋아, 좋아요, 좋아해요, 그리자, 그려라, "
                    "그리고 싶어, 그리고 싶어요, 그려 볼까, 그려봐, 추가, 추천, "
                "갈게, 갈게요, 가자, 갑시다, 할래, 할래요, 할게요, 하자, 하나요, 달라고, 콜?, ㅇㅋ?, 되려나, "
                    "그려보자, 만들자, 가져와, 가져다줘, 그립시다, 그릴래, 그려주길, 안 될까")
# what follows "로": 이번엔 고래로 해줘
CHANGES = words("해줘, 해 줘, 해주세요, 해 주세요, 부탁해, 부탁해요, 부탁드려요, 부탁드립니다, 부탁, 갈게, 가자, "
    "갑시다, 가시죠, 할게, 할게요, 할래, 바꿔줘, 바꿔 주세요, 그려줘, 그려 주세요, "
                "만들어줘, 하자, 해주라, 해줄래, 해 줄래요, 해봐, ㄱㄱ, 변경해줘, 칠해줘, 칠해 주세요, 주세요, 줘, "
                    "정했어, 결정")
ENDS = words("있다, 있어요, 있어, 있음, 있습니다, 있네, 있네요, 있는 거, 있는 것, 있는 걸로, 있는 모습, 있는 장면, "
    "있게 해줘, 있으면 좋겠어, 있죠, 있지, 보여요, 보인다, "
             "앉아 있어요, 앉아 있다, 놓여 있다, 놓여 있어요, 서 있어, 놀아요, 놀고 있어요, 날아가요, 날아다녀요, "
                 "뛰어가요, 자고 있어, 웃고 있어요, 살아요, 떠 있다, 나타났다, "
             "둥둥 떠 있어, 좋아, 좋아요, 예뻐요, 귀여워, 나와, 나와요, 나오는 거, 왔어요, 제일 좋아")
BEFORE = words("음, 흠, 그냥, 걍, 아, 야, 오, 저기, 저기요, 혹시, 제발, 이번엔, 이번에는, 그럼, 자, 나, 나는, 저는, "
    "엄마, 아빠, 일단, 다음은, 다음엔, 지금, 빨리, 우선, 여기, 여기에, "
               "여기에다, 이제, 근데, 아니, 그리고, 얼른, 어, 글쎄, 안녕, 안녕하세요, 선생님, 형, 누나, 언니, "
                   "오늘은, 오, 와, 우와, 뭐, 나도, 너, 새 그림, 한번, 한 번, 다시, 아무거나, 있잖아, "
               "그거 말고, 죄송한데, 실례지만, 번거롭겠지만, 간단하게, 심플하게, 빠르게, 대충, 그 뭐냐, 그거, "
                   "이것은, 이건, 저건, 여러분, 친구야, 헐, 역시, 아무튼, 솔직히, 나 지금, 저 지금, "
               "우리, 배고파, 심심해, 생각해 보니, 음...,  오키, ㅇㅇ, ㅇㅋ, ㄴㄴ, 아니다, 아 맞다, 잠깐, 부탁인데")
AFTER = words("ㅋㅋ, ㅋㅋㅋ, ㅎㅎ, ㅎ, ㅋ, ㅋㅋㅋㅋ, ㄱㄱ, ~, ~~, !, !!, ?, ., .., ..., ^^, ㅠㅠ, ㅜㅜ, ㅇㅇ, "
    "ㅇㅋ?, 플리즈, 제발, 고마워, 고맙습니다, 감사합니다, 감사해요, 땡큐, 빨리, 얼른, 예쁘게, "
              "귀엽게, 이쁘게, 멋지게, 정성껏, 잘, 부탁, 요, 용, 염, 정도, 쯤, 알았지?, 알겠지, 오케이?, 그게 다야, "
                  "끝, 그것만, 이거면 돼, 헤헤, 히히, 냠냠, 짱, 최고, 좋아, 귀여워, 귀엽다, 예쁘다, "
              "맛있겠다, 배고파, 보고싶다, 안녕, 응?, 네?, 네, 아싸, 야호, ♡, <3, :), ;), ㅡㅡ, -, 느낌으로, 느낌, "
                  "스타일로, 버전, 같은 거, 있는 거, 그거, 걸로, 이런 거, 하나 더, 한 번만, 당장, 지금")
COPULAS = ("요", "요!", "요~", " 요", "용", "요?", "이요", "여", "염", "욤", "임", "이다", "입니다", "이에요", "예요",
    "이야", "야", "인데", "!")
NOT = ("말고", "대신", "아니고", "대신에", "빼고", "말고 그냥")
SOUNDS = words("멍멍, 야옹, 음매, 꿀꿀, 짹짹, 삐약삐약, 꽥꽥, 어흥, 훨훨, 둥실둥실, 슝, 슝슝, 부릉부릉, 빵빵, 윙윙, "
    "칙칙폭폭, 반짝반짝, 방긋, 깡충깡충, 엉금엉금, 꼬물꼬물, 폴짝폴짝, 개굴개굴, 쿵쿵, 살금살금, 우당탕, "
               "냠냠, 쩝쩝, 동동, 펄럭펄럭, 대롱대롱, 데굴데굴, 팔랑팔랑, 으르렁, 메에, 따르릉, 삐뽀삐뽀, 휘리릭, "
                   "뿅, 짠, 펑, 쏴아")


def particle(word: str, closed: str, opened: str) -> str:
    """The form of a particle that a word takes; a learned word's sign takes either."""
    last = word.rstrip(CLOSE + " ")[-1:]
    if last in "*&":
        return closed if len(word) % 2 else opened
    if last.isdigit():
        return closed if last in "013678" else opened
    return closed if last and ends_in_consonant(last) else opened


def colour(rng: random.Random, name: str) -> str:
    """A colour before a noun: 빨간, 빨강, 빨간색의 ..."""
    adjectives, nouns, _ = COLOURS[name]
    if rng.random() < 0.6:
        return rng.choice(words(adjectives))
    return rng.choice(words(nouns)) + maybe(rng, 0.12, "의")


def counter(rng: random.Random, thing: Thing) -> str:
    """What a thing is counted in."""
    own = COUNTERS_OF.get(thing.name) or COUNTERS.get(thing.kind, "개")
    if not thing.name or thing.name in "*&":
        own = rng.choice(("개", "개", "개", "마리", "대", "명"))
    return "개" if rng.random() < 0.15 else rng.choice(words(own))


def noun_phrase(rng: random.Random, thing: Thing, noun: Noun, late: bool = True) -> tuple[str, str]:
    """(phrase, what is said of it as an adverb later: 크게, 빨간색으로)."""
    unit = counter(rng, thing)
    counted = thing.number > 1 or rng.random() < 0.35
    before, adverb = [], ""
    if thing.size:
        if late and rng.random() < 0.3:
            adverb = rng.choice(words(SIZES[thing.size][1]))
        else:
            before.append(rng.choice(words(SIZES[thing.size][0])))
    if thing.tint:
        if late and not adverb and rng.random() < 0.25:
            other_tint = rng.choice([c for c in COLOURS if c not in (thing.tint, "odd")])
            adverb = maybe(rng, 0.12, f"{rng.choice(words(COLOURS[other_tint][1]))} 말고 ")
            adverb += rng.choice(words(COLOURS[thing.tint][2]) + [f"{rng.choice(words(COLOURS[thing.tint][0]))} 걸로"])
        else:
            before.append(colour(rng, thing.tint))
    if rng.random() < 0.1:
        before.insert(rng.choice((0, len(before))), rng.choice(FILLERS))
    rng.random() < 0.2 and rng.shuffle(before)
    word = noun(thing, unit if counted else "")
    head = " ".join([*before, word])
    gap = " " if rng.random() < 0.9 else ""
    n = thing.number
    if not counted:
        return head, adverb
    style = rng.random()
    amount = f"{NATIVE[n]} {unit}" if rng.random() < 0.85 else f"{NATIVE[n]}{unit}"
    if style < 0.55:
        text = f"{head}{gap}{amount}"
    elif style < 0.70:
        text = f"{head}{gap}{n}{maybe(rng, 0.1, ' ')}{unit}"
    elif style < 0.80:
        text = f"{head}{gap}{ALONE[n]}" if n < 5 else f"{head}{gap}{amount}"
    elif style < 0.92:
        text = (f"{amount if rng.random() < 0.8 else f'{n}{unit}'}의 {head}" if n > 1 or rng.random() < 0.7
                else f"하나의 {head}")
    elif style < 0.95 and n > 1:
        text = f"{NATIVE[n]} {head}"
    elif style < 0.97:
        text = f"{head} {SINO[n]} {unit}" if n > 1 else f"{head} 1{unit}"
    else:
        text = f"{head}{gap}{amount}씩" if n > 1 else f"{head} {unit and '하나'}"
    return text + maybe(rng, 0.08, rng.choice(("만", "만", "정도", "이나", " 정도", "만큼"))), adverb


def joined(rng: random.Random, phrases: list[str]) -> str:
    """A and B."""
    text = phrases[0]
    for other in phrases[1:]:
        link = weighted(rng, ((particle(text, "과", "와"), 30), (particle(text, "이랑", "랑"), 25), ("하고", 12),
            (", ", 8),
                              (" 그리고", 6), (" 옆에", 3), ("에", 2), (" 및", 2),
                              (particle(text, "과 함께", "와 함께"), 2),
                              (particle(text, "이랑 같이", "랑 같이"), 2),
                              (particle(text, "과 함께 있는", "와 함께 있는"), 2),
                              ("하고 또", 1), (" +", 1), (" /", 1), ("랑", 2), (" 옆의", 1), ("도", 1)))
        text += link + ("" if link == ", " else " " if rng.random() < 0.95 else "") + other
    if len(phrases) > 1:
        text += maybe(rng, 0.1, rng.choice((" 같이", " 함께", " 둘 다", " 나란히")))
    return text


def ground(rng: random.Random, name: str) -> tuple[str, str]:
    """(a background before what is on it, the same as a clause of its own)."""
    tone = colour(rng, name)
    skies = words(SKIES.get(name, ""))
    place = rng.choice(skies) if skies and rng.random() < 0.06 else weighted(rng, GROUNDS)
    space = " " if rng.random() < 0.85 else ""
    scene = f"{tone}{space}{place}"
    where = weighted(rng, (
        ("에", 24), (" 위에", 10), (" 위의", 10), ("에다", 3), ("에다가", 3), ("의", 8), ("으로", 7), (" 위", 3),
        (" 위에다", 1), ("에서", 2), (" 위로", 1), (",", 8), ("", 8),
        (" 앞에", 3), (" 앞의", 2), ("에 있는", 6), (" 위에 있는", 4), ("을 가진", 2), ("이 있는", 2), (" 속", 1),
        (" 속의", 1), (" 안에", 1), ("에 놓인", 1), (" 한가운데", 1),
        (" 가운데에", 1), (" -", 1), (" /", 1), (":", 1), ("과 함께 있는", 1), ("과", 1), ("에는", 2), ("인", 1),
        ("에 그린", 1), ("이고", 1), (" 위에다가", 1), ("에 그려진", 1)))
    if particle(place, "1", "0") == "0":
        where = {"으로": "로", "을 가진": "를 가진", "과 함께 있는": "와 함께 있는", "이 있는": "가 있는", "과": "와",
            "이고": "고"}.get(where, where)
    nouns = words(COLOURS[name][1])
    tint = rng.choice(nouns)
    adverb = rng.choice(words(COLOURS[name][2]))
    clause = rng.choice((
        f"배경은 {adverb}", f"배경은 {adverb} 하고", f"배경은 {adverb} 해서", f"배경을 {adverb} 하고",
        f"배경 {adverb} 하고", f"배경은 {tint}",
        f"배경 {tint}", f"배경 {adverb} 해서", f"배경을 {adverb} 해서",
        f"배경은 {tint}{particle(tint, '이고', '고')}", f"배경 {adverb}", f"{tint} 배경으로 하고",
        f"{tone} 배경으로 해서", f"{tone} 배경이면 좋겠고", f"{tone} 배경으로",
        f"배경이 {tone if tone in words(COLOURS[name][1]) else tint}인", f"배경 {tint}에", f"뒤는 {adverb} 하고",
        f"{tone} 배경 {rng.choice(('ㅇㅇ', '해줘', '좋아', '부탁'))}", f"배경은 {tone} 걸로", f"배경색은 {tint}",
        f"배경색은 {adverb} 하고", f"배경: {tint}", f"바탕은 {adverb}",
        f"바탕은 {tint}", f"바탕을 {adverb} 하고", f"배경이 {tint}고", f"배경 색깔은 {tint}", f"배경만 {adverb}"))
    return scene + where, clause


def framed(rng: random.Random, text: str, frame: str) -> str:
    """A picture of what the text says."""
    if not frame:
        return text
    word = rng.choice(words(FRAMES[frame]))
    link = weighted(rng, (("{} {}", 60), ("{}의 {}", 22), ("{}{}", 4),
        ("{}" + particle(text, "이", "가") + " 있는 {}", 6),
                          ("{}" + particle(text, "을", "를") + " 찍은 {}" if frame == "photo" else "{} {}", 3),
                          ("{} 나오는 {}", 1),
                          ("{}" + particle(text, "이", "가") + " 나온 {}", 1),
                          ("{}" + particle(text, "을", "를") + " 그린 {}" if frame in ("picture",
                          "drawing") else "{} {}", 3)))
    return link.format(text, word) + maybe(rng, 0.15,
        rng.choice((" 하나", " 한 장", " 1장", " 하나만", " 좀", " 한장")))


def asked(rng: random.Random, text: str, adverb: str) -> str:
    """A request for what the text says."""
    draw = rng.random()
    adverb = f" {adverb}" if adverb else ""
    if draw < 0.5:
        object_ = weighted(rng, ((particle(text, "을", "를"), 35), ("", 40), (" 좀", 8), ("만", 6),
            (particle(text, "은", "는"), 3), ("도", 2), ("를", 1), (" 하나", 3), ("요", 1)))
        stem, ending = rng.choice(STEMS), rng.choice(ENDINGS)
        gap = " " if rng.random() < 0.45 else ""
        return f"{text}{object_}{adverb} {maybe(rng, 0.05, rng.choice(AFTER[24:33]) + ' ')}{stem}{gap}{ending}"
    if draw < 0.78:
        object_ = weighted(rng, (("", 60), (" 좀", 8), ("만", 8), (particle(text, "이", "가"), 12),
            (particle(text, "을", "를"), 12), (" 하나", 3), ("도", 2), (" 하나만", 2), (particle(text, "으로", "로"),
            3)))
        return f"{text}{object_}{adverb} {rng.choice(DESIRES)}"
    if draw < 0.92:
        last = unicodedata.normalize("NFD", text[-1:] or "가")[-1]
        change = "로" if last == "ᆯ" else particle(text, "으로", "로")
        return f"{text}{change}{adverb} {rng.choice(CHANGES)}"
    return text + adverb + rng.choice(COPULAS)


def write(rng: random.Random, meaning: Meaning, noun: Noun, other: Noun) -> str:
    """The meaning in Korean, with noun(thing, counter) for its things and other(...) for some that are not meant."""
    register = rng.random()
    request = register < 0.55
    phrases, adverbs = [], []
    for i, thing in enumerate(meaning.things):
        last = i == len(meaning.things) - 1
        phrase, adverb = noun_phrase(rng, thing, noun, late=last and not meaning.frame)
        if meaning.ground and rng.random() < 0.02 and last:
            phrase = f"{other(thing, '')} {rng.choice(NOT)} {phrase}"
        elif last and len(meaning.things) == 1 and rng.random() < 0.04:
            wrong = other(thing, "")
            phrase = wrong + rng.choice((" 말고", " 말고", " 말고 그냥", " 대신", " 대신에", " 아니고",
                particle(wrong, "이 아니라", "가 아니라"), " 말구", " 빼고")) + f" {phrase}"
        phrases.append(phrase)
        adverbs.append(adverb)
    text, adverb = joined(rng, phrases), adverbs[-1]
    tail = ""
    if meaning.ground:
        before, clause = ground(rng, meaning.ground)
        draw = rng.random()
        if draw < 0.58:  # 파란 배경에 고양이
            text = f"{before} {framed(rng, text, meaning.frame)}"
        elif draw < 0.70:  # 배경은 파랗게 하고 고양이
            text = f"{clause}{maybe(rng, 0.3, ',')} {framed(rng, text, meaning.frame)}"
        elif draw < 0.80:  # 고양이를 파란 배경에 ...
            scene = weighted(rng, (("에", 10), (" 위에", 6), ("에다", 2), ("에다가", 2), ("으로", 4), (" 앞에", 2),
                ("", 2), (" 위에다", 1), (" 위에다가", 1), ("에서", 1)))
            spot = f"{colour(rng, meaning.ground)} {'배경' if rng.random() < 0.8 else '바탕'}{scene}"
            link = weighted(rng, ((particle(text, "을", "를"), 30), ("", 40), ("만", 8), (particle(text, "이", "가"),
                10), (",", 8), (particle(text, "은", "는"), 6), (" 좀", 2), ("요", 2)))
            if meaning.frame:
                text = framed(rng, text, meaning.frame) + rng.choice((", ", " ")) + spot
            else:
                text = f"{text}{link} {spot}"
            if adverb:
                text, adverb = f"{text} {adverb}", ""
            if request:
                verb = f" {rng.choice(STEMS)}{maybe(rng, 0.5, ' ')}{rng.choice(ENDINGS)}"
                verb = verb if rng.random() < 0.7 else f" {rng.choice(DESIRES)}"
                text += verb if rng.random() < 0.8 else ""
                request = False
        elif draw < 0.92:  # 고양이, 파란 배경
            text = framed(rng, text, meaning.frame)
            if adverb:
                text, adverb = f"{text} {adverb}", ""
            tone = colour(rng, meaning.ground)
            place = f"{tone}{' ' if rng.random() < 0.85 else ''}{'배경' if rng.random() < 0.8 else '바탕'}"
            tail = rng.choice((f", {place}", f" {place}", f" ({place})", f" - {place}", f" / {place}",
                f" {place}으로", f", {clause}", f" {clause}", f", {place}으로", f" {place}에", f" + {place}",
                               f" {place} 부탁", f"; {place}", f" {place}으로 부탁해", f", {place}이면 좋겠어",
                               f" {place}에다가", f" {place}으로 해줘", f" {place} 위에"))
            if request:
                tail = rng.choice((tail, tail, f" {place}으로",
                    f" {place}에")) + f" {rng.choice(STEMS)}{maybe(rng, 0.5, ' ')}{rng.choice(ENDINGS)}"
                request = False
        else:  # 파란 배경에 고양이가 있어요
            subject = particle(text, "이", "가") if rng.random() < 0.85 else particle(text, "은", "는")
            inside = rng.choice(("에", "에", " 위에", " 앞에", "에는", "에서"))
            spot = f"{colour(rng, meaning.ground)} {'배경' if rng.random() < 0.85 else '바탕'}{inside}"
            end = rng.choice(ENDS)
            if not meaning.frame:
                text = rng.choice((f"{spot} {text}{subject} {end}", f"{text}{subject} {spot} {end}"))
            else:
                shown = rng.choice(("있는", "있는", "나온", "놓인", "앉아 있는"))
                text = f"{spot} {text}{subject} {shown} {rng.choice(words(FRAMES[meaning.frame]))}"
            request = request and bool(meaning.frame)
    else:
        text = framed(rng, text, meaning.frame)
        if not meaning.frame and rng.random() < 0.06:
            text = f"{text}{particle(text, '이', '가')} {rng.choice(ENDS)}"
            request = False
    if request:
        text = asked(rng, text, adverb)
    elif adverb:
        text = f"{text} {adverb}"
    text += tail
    if rng.random() < 0.13:
        text = rng.choice(BEFORE) + rng.choice((" ", " ", " ", ", ")) + text
    if rng.random() < 0.04:
        text = rng.choice((f"{rng.choice(SOUNDS)} {text}", f"{text} {rng.choice(SOUNDS)}"))
    if rng.random() < 0.16:
        text += maybe(rng, 0.7, " ") + rng.choice(AFTER)
    return text


CONFUSED = ("ㅐㅔ", "ㅗㅜ", "ㅓㅏ", "ㅑㅏ", "ㅕㅓ", "ㅛㅗ", "ㅠㅜ", "ㅚㅙ", "ㅡㅜ", "ㅣㅢ", "ㅟㅣ", "ㅒㅖ", "ㅐㅏ",
    "ㅔㅓ", "ㅓㅗ")
ONSETS = ("ᄀᄁ", "ᄀᄏ", "ᄃᄄ", "ᄃᄐ", "ᄇᄈ", "ᄇᄑ", "ᄉᄊ", "ᄌᄍ", "ᄌᄎ", "ᄂᄃ", "ᄅᄂ", "ᄆᄇ", "ᄋᄒ")
VOWELS = {unicodedata.normalize("NFKC", a): unicodedata.normalize("NFKC", b)
          for pair in CONFUSED for a, b in zip(pair, pair[::-1], strict=True)}
ONSET = {a: b for pair in ONSETS for a, b in zip(pair, pair[::-1], strict=True)}
CODAS = [chr(code) for code in range(0x11A8, 0x11C3)]


def misspelt(rng: random.Random, text: str) -> str:
    """The text with a letter wrong, missing or too many in one syllable."""
    places = [i for i, c in enumerate(text) if "가" <= c <= "힣"]
    if not places:
        return text
    i = rng.choice(places)
    onset, vowel, *coda = list(unicodedata.normalize("NFD", text[i]))
    draw = rng.random()
    if draw < 0.4:
        vowel = VOWELS.get(vowel, vowel)
    elif draw < 0.6:
        onset = ONSET.get(onset, onset)
    elif draw < 0.75:
        coda = [] if coda else [rng.choice(CODAS)]
    elif draw < 0.9:
        coda = [rng.choice("ᆨᆫᆯᆷᆸᆺᆼ")]
    elif draw < 0.95:
        onset = chr(rng.randrange(0x1100, 0x1113))
    else:
        vowel = chr(rng.randrange(0x1161, 0x1176))
    return text[:i] + unicodedata.normalize("NFC", onset + vowel + "".join(coda)) + text[i + 1 :]


def noisy(rng: random.Random, text: str) -> str:
    """The text with the spaces and letters that people leave out or get wrong."""
    draw = rng.random()
    if draw < 0.06:
        text = text.replace(" ", "")
    elif draw < 0.22:
        text = "".join(c for c in text if c != " " or rng.random() > 0.4)
    elif draw < 0.25:
        text = "".join(c + maybe(rng, 0.08, " ") for c in text)
    if rng.random() < 0.16:
        text = misspelt(rng, text)
        text = misspelt(rng, text) if rng.random() < 0.25 else text
    return text
