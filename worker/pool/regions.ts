/**
 * Locations of regions, and their order by distance from a request.
 * @module
 */
import type { Region } from "../settings";

/** Approximate centre of each location hint: latitude and longitude in degrees. */
const CENTRES: Record<Region, [latitude: number, longitude: number]> = {
  wnam: [37, -120],
  enam: [40, -77],
  sam: [-23, -47],
  weur: [50, 4],
  eeur: [50, 21],
  apac: [22, 114],
  oc: [-34, 151],
  afr: [-26, 28],
  me: [25, 55],
};

/** Return the regions sorted by distance from the request, or in the given order if its location is unknown. */
export function sortByDistance(regions: readonly Region[], cf: Request["cf"]): Region[] {
  const location = [Number(cf?.latitude ?? Number.NaN), Number(cf?.longitude ?? Number.NaN)] as [number, number];
  if (location.some(Number.isNaN)) return [...regions];
  return regions
    .map((region) => ({ region, distance: angle(location, CENTRES[region]) }))
    .sort((a, b) => a.distance - b.distance)
    .map(({ region }) => region);
}

/** Return the haversine of the angle between two places on the globe, which grows with their distance. */
function angle([latitude, longitude]: [number, number], [otherLatitude, otherLongitude]: [number, number]): number {
  const radians = (degrees: number) => (degrees * Math.PI) / 180;
  const squared = (degrees: number) => Math.sin(radians(degrees) / 2) ** 2;
  const along = Math.cos(radians(latitude)) * Math.cos(radians(otherLatitude)) * squared(longitude - otherLongitude);
  return squared(latitude - otherLatitude) + along;
}
